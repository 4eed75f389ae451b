"""What `inspect` prints of a model before its first step: norms, parameters, sizes of activations and gradients."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.errors import InputError
from app.installation import TRAIN
from app.runs.result import read_result

_LARGE = 1e3  # ratio of the first block's size to the last one's from which training rarely recovers


def inspect(arguments: Sequence[str]) -> int:
    """Run fit with a callback that inspects the model instead of training it, and print what it found.

    Args:
        arguments: those of fit.

    Returns:
        The exit status of fit: 0, or that of an error, which fit has printed on standard error.

    Raises:
        InputError: without a --config.
    """
    if not any(argument.split("=")[0] in ("--config", "-c") for argument in arguments):
        raise InputError("inspect needs the config of a model; pass --config FILE, and optionally --norm NAME")
    with tempfile.TemporaryDirectory() as root:
        quiet = [f"--run_root={root}", "--test_after_fit=false", "--norm_diagnostics_every_n_steps=null"]
        quiet += ["--trainer.min_epochs=null", "--trainer.min_steps=null", "--trainer.fast_dev_run=false"]
        quiet += ["--trainer.logger=null"]  # an inspection is not a run in the user's tracker
        command = [*TRAIN, "fit", *arguments, *quiet]
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
    """The text that `inspect` prints.

    Args:
        found: content of inspection.json.
        sites: rows of norm_sites.csv.
        signature: signature of the run, the first line.
    """
    by_path = {row["path"]: row for row in sites}
    total = sum(row["count"] for row in found["parameters"])
    parts = [
        signature,
        "",
        "Norms: class before and norm now; rms of input and output, sigma, rms of the gradients with respect to the",
        "output and the input",
        _table(
            ["path", "before", "now", "shape", "input", "sigma", "output", "grad. out", "grad. in"],
            [
                [
                    row["path"], by_path[row["path"]]["old_class"], by_path[row["path"]]["new_norm"],
                    by_path[row["path"]]["shape"],
                    *(f"{row[k]:.3g}" for k in ("input", "sigma", "output", "gradient_at_output", "gradient_at_input")),
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
            + [["in norms", f"{found['norm_parameters']:,}", ""]],
        ),
    ]  # fmt: skip
    if found["blocks"]:
        rows = [[row["path"], f"{row['activation']:.3g}", f"{row['gradient']:.3g}"] for row in found["blocks"]]
        parts += [
            "",
            "Blocks in the order of the forward pass: rms of the output, and of the gradient with respect to it",
        ]
        parts += [_table(["block", "activation", "gradient"], rows)]
    parts += ["", f"Loss of the first batch ({found['size']}): {found['loss']:.4f} nats", "", verdict(found)]
    return "\n".join(parts)


def verdict(found: dict[str, Any]) -> str:
    """Whether the model will train, judged by sizes at its first and last block (or norm, without blocks)."""
    blocks = found["blocks"] or [
        {"path": row["path"], "activation": row["output"], "gradient": row["gradient_at_output"]}
        for row in found["sites"]
    ]
    values = [found["loss"], *(row[key] for row in blocks for key in ("activation", "gradient"))]
    if not all(math.isfinite(value) for value in values):
        return "Will this train? No: the loss, an activation or a gradient is not finite at the start."
    if not found["sites"] or not any(row["gradient"] for row in blocks):
        return (
            "Will this train? Unknown: no gradient reaches the norms in the first update, as where a head is "
            "initialized to zero."
        )
    first, last = blocks[0], blocks[-1]
    ratios = {key: first[key] / last[key] if last[key] else math.inf for key in ("activation", "gradient")}
    faults = [
        f"the {key} at {first['path']} is {ratio:.1e} times that at {last['path']}"
        for key, ratio in ratios.items()
        if not 1 / _LARGE < ratio < _LARGE
    ]
    if faults:
        return f"Will this train? Unlikely: {'; '.join(faults)}."
    return (
        f"Will this train? Nothing speaks against it: all values are finite, and the gradient at {first['path']} is "
        f"{ratios['gradient']:.2g} times that at {last['path']}."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as text in aligned columns, with numbers to the right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = []
    for row in [head, *rows]:
        cells = [
            cell.rjust(width) if number and rows and rows[0][number][:1].isdigit() else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)
