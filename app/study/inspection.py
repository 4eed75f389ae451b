"""A model before its first step: its norms, its parameters, and whether signal and gradient get through it."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.errors import InputError
from app.runs.result import read_result
from app.study.plan import TRAIN

_LARGE = 1e3  # a factor between the first block and the last that training rarely mends


def inspect(arguments: Sequence[str]) -> int:
    """Run train.py with a callback that looks instead of training, and print what it saw.

    Args:
        arguments: of train.py fit.

    Returns:
        The exit status of train.py, 0 where all went well; its own error line stands on standard error then.

    Raises:
        InputError: without a --config.
    """
    if not any(argument.split("=")[0] in ("--config", "-c") for argument in arguments):
        raise InputError("inspect looks at the model of a config; give --config FILE, and --norm NAME if you like")
    with tempfile.TemporaryDirectory() as root:
        quiet = [f"--run_root={root}", "--test_after_fit=false", "--norm_diagnostics_every_n_steps=null"]
        quiet += ["--trainer.min_epochs=null", "--trainer.min_steps=null", "--trainer.fast_dev_run=false"]
        command = [sys.executable, str(TRAIN), "fit", *arguments, *quiet]
        command += ["--trainer.callbacks+=app.callbacks.InspectModel"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            return done.returncode
        (path,) = Path(root).rglob("inspection.json")
        found = json.loads(path.read_text(encoding="utf-8"))
        result = read_result(path.parent)
        assert result is not None, "a fit that ends writes it"
        with open(path.parent / "norm_sites.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    print(describe(found, rows, result["signature"]))
    return 0


def describe(found: dict[str, Any], sites: Sequence[dict[str, str]], signature: str) -> str:
    """The whole account, for a person.

    Args:
        found: content of inspection.json.
        sites: rows of norm_sites.csv.
        signature: of the run.
    """
    by_path = {row["path"]: row for row in sites}
    total = sum(row["count"] for row in found["parameters"])
    parts = [
        signature,
        "",
        "Norms: what stood there, what stands there now; rms of input and output, sigma, rms of the gradient that",
        "arrives at the output and of the one that leaves at the input",
        _table(
            ["path", "before", "now", "shape", "input", "sigma", "output", "grad. out", "grad. in"],
            [
                [
                    row["path"], by_path[row["path"]]["old_class"], by_path[row["path"]]["new_norm"],
                    by_path[row["path"]]["shape"],
                    *(_number(row[k]) for k in ("input", "sigma", "output", "gradient_at_output", "gradient_at_input")),
                ]
                for row in found["sites"]
            ],
        ),
        "",
        "Parameters",
        _table(
            ["module", "parameters", "trainable"],
            [[row["module"], f"{row['count']:,}", f"{row['trainable']:,}"] for row in found["parameters"]]
            + [["all", f"{total:,}", f"{sum(row['trainable'] for row in found['parameters']):,}"]]
            + [["of them in norms", f"{found['norm_parameters']:,}", ""]],
        ),
    ]  # fmt: skip
    if found["blocks"]:
        rows = [[row["path"], _number(row["activation"]), _number(row["gradient"])] for row in found["blocks"]]
        parts += ["", "Blocks, in the order of the forward pass: rms of the output, and of the gradient there"]
        parts += [_table(["block", "activation", "gradient"], rows)]
    tokens = f"{found['tokens']:,} tokens"
    parts += ["", f"Loss of the first batch ({tokens}): {found['loss']:.4f} nats", "", verdict(found)]
    return "\n".join(parts)


def verdict(found: dict[str, Any]) -> str:
    """Will this train? In a sentence, from sizes at the first and the last block; where there are none, norm."""
    blocks = found["blocks"] or [
        {"path": row["path"], "activation": row["output"], "gradient": row["gradient_at_output"]}
        for row in found["sites"]
    ]
    values = [found["loss"], *(row[key] for row in blocks for key in ("activation", "gradient"))]
    if not all(math.isfinite(value) for value in values):
        return "Will this train? No: the loss, an activation or a gradient is not finite at the start."
    if not found["sites"] or not any(row["gradient"] for row in blocks):
        return (
            "Will this train? Nobody can tell from here: no gradient reaches the norms in the first update, as where a "
            "head starts at zero."
        )
    first, last = blocks[0], blocks[-1]
    faults = []
    for word, key in (("activation", "activation"), ("gradient", "gradient")):
        ratio = first[key] / last[key] if last[key] else math.inf
        if not 1 / _LARGE < ratio < _LARGE:
            faults.append(f"the {word} at {first['path']} is {ratio:.1e} times that at {last['path']}")
    gradient = first["gradient"] / last["gradient"] if last["gradient"] else math.inf
    if faults:
        return f"Will this train? Hardly as it is: {'; '.join(faults)}."
    return (
        f"Will this train? Nothing speaks against it: all is finite, and the gradient at {first['path']} is "
        f"{gradient:.2g} times that at {last['path']}."
    )


def _number(value: float) -> str:
    return f"{value:.3g}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need, numbers to the right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = []
    for row in [head, *rows]:
        cells = [
            cell.rjust(width) if number and rows and rows[0][number][:1].isdigit() else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)
