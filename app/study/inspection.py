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
        quiet += ["--compile=false"]  # each norm that is watched would be compiled anew
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
    total = sum(row["count"] for row in found["parameters"])
    parts = [
        signature,
        "",
        *_norm_table(found["sites"], sites),
        *_drawing(found["drawing"]),
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
    parts += ["", f"Loss of the first batch ({found['size']}): {found['loss']:.4f} nats"]
    parts += ["", *_acting(found), "", verdict(found)]
    return "\n".join(parts)


def _norm_table(measured: Sequence[dict[str, Any]], sites: Sequence[dict[str, str]]) -> list[str]:
    """Every norm with its sizes; what is the same for all of them is said once, above the table."""
    sizes = {row["path"]: row for row in measured}
    columns = {
        "path": [row["path"] for row in sites],
        "before": [row["old_class"] for row in sites],
        "now": [row["new_norm"] or "left" for row in sites],
        "role": [row["role"] for row in sites],
        "layer": [f"{row['layer']}/{row['layers']}" if row["layer"] else "" for row in sites],
        "stack": [row["stack"] for row in sites],
        "shape": [row["shape"] for row in sites],
    }
    common = {head: column[0] for head, column in columns.items() if len(set(column)) == 1 and head != "path"}
    heads = {
        "input": "input", "sigma": "sigma", "output": "output", "gradient_at_output": "grad. out",
        "gradient_at_input": "grad. in",
    }  # fmt: skip
    for key, head in heads.items():
        columns[head] = [f"{sizes[path][key]:.3g}" if path in sizes else "-" for path in columns["path"]]
    shown = {head: column for head, column in columns.items() if head not in common}
    lines = ["Norms: rms of input and output, sigma, rms of the gradients with respect to the output and the input"]
    if "-" in columns["input"]:
        lines.append("  (-: the model keeps its own norm there, or does not call it)")
    if said := [f"{head} {value}" for head, value in common.items() if value]:
        lines.append(f"  all: {', '.join(said)}")
    return [*lines, _table(list(shown), [list(row) for row in zip(*shown.values(), strict=True)])]


def _drawing(lines: Sequence[str]) -> list[str]:
    head = "Where the norms stand: x is the residual stream, + adds a branch to it"
    return ["", head, *(f"  {line}" for line in lines)] if lines else []


def _acting(found: dict[str, Any]) -> list[str]:
    """Whether each norm, parameter and option of the norms does anything, in words."""
    checks = found["checks"]
    faults = _grouped(faults_of(checks), len(checks))
    tried = f"Tried on {found['checked_on']} in eval mode, with small values in parameters that start at zero"
    lines = [f"Do the norms act? {tried}"]
    if faults:
        lines += ["  No:", *(f"  {fault}" for fault in faults)]
    else:
        parameters = sum(len(check["parameters"]) for check in checks)
        options = sorted({option for check in checks for option in check["options"]})
        proofs = [f"the loss changes with the output of each of the {len(checks)} norms"]
        proofs += [f"each of their {parameters} trainable parameters gets a gradient"] if parameters else []
        proofs += [f"each option ({', '.join(options)}) changes what they compute"] if options else []
        lines += [f"  Yes: {'; '.join(proofs)}."]
    notes: list[tuple[str, str]] = []
    for check in checks:
        notes += [(check["path"], "the same as the model's own norm, forward and backward")] * check["is_models_own"]
        notes += [(check["path"], f"frozen {' and '.join(check['frozen'])}")] if check["frozen"] else []
        notes += [
            (check["path"], f"option {option} not tried, because no other value was found")
            for option in check["untested"]
        ]
    return lines + [f"  {note}" for note in _grouped(notes, len(checks))]


def faults_of(checks: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """The path of each norm that does nothing, or has something that does nothing, and what that is."""
    faults = []
    for check in checks:
        if not check["is_called"]:
            faults.append((check["path"], "never called by the model"))
            continue
        if check["moves_loss"] is False:
            faults.append((check["path"], "the loss is the same, whatever the norm's output is"))
        else:
            faults += [(check["path"], f"no gradient reaches {name}") for name in check["without_gradient"]]
        faults += [
            (check["path"], f"option {option} does nothing (tried {_listed(tried)})")
            for option, tried in check["options"].items()
            if option in check["ignored"]
        ]
    return faults


def _grouped(found: Sequence[tuple[str, str]], count: int) -> list[str]:
    """One line for each thing that is said, with the paths of which it is said; `all N` where these are all."""
    paths: dict[str, list[str]] = {}
    for path, said in found:
        paths.setdefault(said, []).append(path)
    return [f"{said}: {f'all {count} norms' if len(of) == count else _listed(of)}" for said, of in paths.items()]


def _listed(values: Sequence[Any]) -> str:
    shown = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
    return ", ".join(shown if len(shown) <= 4 else [*shown[:3], f"{len(shown) - 3} more"])


def verdict(found: dict[str, Any]) -> str:
    """Whether the model will train, judged by sizes at its first and last block (or norm, without blocks).

    Where a norm, or something of it, does nothing, it says so.
    """
    idle = {path for path, _ in faults_of(found["checks"])}
    if not idle:
        return _outlook(found)
    return (
        f"{_outlook(found)} But {len(idle)} of {len(found['checks'])} norms do not act as configured, see above: mend "
        "this before you compare norms."
    )


def _outlook(found: dict[str, Any]) -> str:
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
            cell.rjust(width)
            if number and rows and (rows[0][number][:1] or "x") in "-0123456789"
            else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)
