"""result.json and the summary that a person reads: what came out of a run, in one place."""

from __future__ import annotations

import json
import platform
import resource
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from app.callbacks.diagnostics.norm_gradients import gradient_summary
from app.callbacks.diagnostics.overfitting import overfitting_summary
from app.runs.atomic_write import atomic_write
from app.runs.metrics_file import Event

FILE_NAME = "result.json"
SCHEMA = 2  # raised when a key changes its meaning


def build_result(
    *,
    identity: dict[str, Any],
    norm: dict[str, Any],
    status: str,
    step: int,
    primary: dict[str, str],
    metrics: Sequence[str],
    sites: Sequence[str],
    steps_an_epoch: int,
    events: Sequence[Event],
    cost: dict[str, Any],
    fingerprints: dict[str, str],
) -> dict[str, Any]:
    """Everything of result.json but the test scores, which come when the best checkpoint has been tested.

    Args:
        identity: task, dataset, norm_signature, sites_label and seed.
        norm: name, options, sites, replaced and total.
        status: finished, diverged or stopped.
        step: updates made.
        primary: name and mode (min, max) of the metric that chooses the best checkpoint.
        metrics: what over-fitting is told by, loss first.
        sites: paths of the norms.
        steps_an_epoch: updates of an epoch.
        events: events of the run in order.
        cost: elapsed_s, tokens, parameters, processes.
        fingerprints: of data, batch plan and initial weights outside the norms: runs that agree in all are paired.
    """
    validations = [event for event in events if event.get(f"val/{primary['name']}") is not None]
    choose = max if primary["mode"] == "max" else min
    best = choose(validations, key=lambda event: event[f"val/{primary['name']}"], default=None)  # the first of equals
    reach = f"sites:{identity['sites_label']} {norm['replaced']}/{norm['total']}"
    return {
        "schema": SCHEMA,
        "signature": f"{identity['task']}|{identity['dataset']}|{identity['norm_signature']}|{reach}"
        f"|seed:{identity['seed']}|steps:{step}",
        "task": identity["task"],
        "dataset": identity["dataset"],
        "norm": norm,
        "seed": identity["seed"],
        "status": status,
        "primary_metric": primary,
        "best": _scores(best),
        "final": _scores(validations[-1]) if validations else None,
        "test": None,
        "tested": None,
        "score_signatures": {},
        "gap": overfitting_summary(events, metrics, best["step"] if best else None, steps_an_epoch),
        "norm_gradients": gradient_summary(events, sites),
        "cost": {
            **cost,
            "tokens_per_s": cost["tokens"] / cost["elapsed_s"] if cost["elapsed_s"] else 0.0,
            "peak_rss_bytes": _peak_rss_bytes(),
        },
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in ("torch", "pytorch-lightning", "transformers")},
        },
        "data_fingerprint": fingerprints["data"],
        "plan_fingerprint": fingerprints["plan"],
        "weights_fingerprint": fingerprints["weights"],
    }


def write_result(folder: Path, result: dict[str, Any]) -> None:
    """Write result.json, whole or not at all.

    Raises:
        InputError: if it cannot be written.
    """
    with atomic_write(folder / FILE_NAME) as part:
        part.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def summarise(result: dict[str, Any], folder: Path) -> str:
    """The summary that ends a fit: scores, gap, cost and where the files are."""
    best, gap, cost = result["best"], result["gap"], result["cost"]
    lines = ["", result["signature"]]
    if result["status"] != "finished":
        lines.append(f"status      {result['status']}")
    if result["test"]:
        lines.append("test        " + _row(result["test"]))
        lines += [f"            {metric}: {signature}" for metric, signature in result["score_signatures"].items()]
        if "mean" in result["tested"]:
            lines.append(f"            of the {result['tested']}")
    if best:
        lines.append(f"best        epoch {best['epoch']} (step {best['step']}): valid {_row(best['val'])}")
        if best["train_probe"]:
            lines.append(f"            train {_row(best['train_probe'])}")
    if gap["best"]:
        at_best, at_last = ({key: gap[at][key] for key in gap["onset"] if key in gap[at]} for at in ("best", "final"))
        lines.append(f"gap         at the best epoch {_row(at_best)}; at the last {_row(at_last)}")
        lines.append("            " + _overfitting_in_words(gap))
    if result["norm_gradients"]:
        lines += _gradients_in_words(result["norm_gradients"])
    lines.append(
        f"cost        {cost['elapsed_s']:.0f} s, {cost['tokens_per_s']:,.0f} tokens/s, "
        f"{cost['peak_rss_bytes'] / 2**30:.1f} GiB, {cost['parameters']:,} parameters"
    )
    lines.append(
        f"paired      with runs of data {result['data_fingerprint']}, batch plan {result['plan_fingerprint']}, "
        f"initial weights {result['weights_fingerprint']}"
    )
    lines.append(f"files       {folder}/: result.json, pictures (*.svg), metrics.jsonl, checkpoints/")
    other = "adanorm" if result["norm"]["name"] == "layernorm" else "layernorm"
    lines.append(f"next        the same with another norm: --norm {other}")
    return "\n".join(lines)


def _overfitting_in_words(gap: dict[str, Any]) -> str:
    began = gap["onset"]["loss"]
    if began is not None:
        return (
            f"over-fitting from epoch {began['epoch']} on: validation loss was lowest in epoch {began['best_epoch']} "
            f"and ends {gap['rise']['loss']:.4f} above that; its noise is {gap['noise']['loss']:.4f}"
        )
    if gap["noise"]["loss"] is None:
        return "too few validations to tell over-fitting from noise"
    return f"no over-fitting beyond the noise of validation loss, {gap['noise']['loss']:.4f}"


def _gradients_in_words(gradients: dict[str, Any]) -> list[str]:
    shares = [
        f"{label} {gradients[name]:.3f}"
        for name, label in (("recentring", "re-centring"), ("rescaling", "re-scaling"))
        if gradients[name] is not None
    ]
    lines = [f"gradient    {', '.join(shares)} (means over all norms, step {gradients['step']})"]
    violations = [gradients[name] for name in ("mean_violation", "variance_violation") if name in gradients]
    if violations:
        worst = max(violations, key=lambda violation: violation["largest"])
        lines.append(
            f"            the theorem's relations hold to {worst['largest']:.1e} (worst at {worst['site']}, step "
            f"{worst['step']})"
        )
    return lines


def _peak_rss_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # Linux counts in KiB


def _scores(event: Event | None) -> dict[str, Any] | None:
    if event is None:
        return None
    parts = {
        part: {key.removeprefix(f"{part}/"): value for key, value in event.items() if key.startswith(f"{part}/")}
        for part in ("val", "train_probe")
    }
    return {"epoch": event["epoch"], "step": event["step"], **parts}


def _row(scores: dict[str, float]) -> str:
    return ", ".join(f"{metric} {value:.4f}" for metric, value in scores.items())
