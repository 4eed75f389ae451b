"""The summary that ends a fit: what result.json says, in the lines that a user reads."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from app.metrics import baseline_of
from app.runs.result import throughput


def summarise(result: dict[str, Any], folder: Path, was_finished: bool = False) -> str:
    """The summary that ends a fit: scores, gap, cost and where the files are.

    Args:
        result: content of result.json.
        folder: of the run.
        was_finished: it is of an earlier fit, as this one had nothing left to do.
    """
    best, gap, cost = result["best"], result["gap"], result["cost"]
    lines = ["", result["signature"]]
    if was_finished:
        lines.append("status      finished before this start: nothing was trained, and it was not tested again")
    elif result["status"] != "finished":
        lines.append(f"status      {result['status']}")
    if result["test"]:
        baselines = {name: score for name, score in result["test"].items() if baseline_of(name)}
        lines.append("test        " + _row({k: v for k, v in result["test"].items() if k not in baselines}))
        lines += [f"            {metric}: {signature}" for metric, signature in result["score_signatures"].items()]
        if result["tested"] != "best checkpoint":
            lines.append(f"            with the {result['tested']}")
        if baselines:
            lines.append("baselines   " + _row(baselines))
    if best:
        lines.append(f"best        epoch {best['epoch']} (step {best['step']}): valid {_row(best['val'])}")
        if best["train_probe"]:
            lines.append(f"            train {_row(best['train_probe'])}")
    if gap["best"]:
        at_best, at_last = ({key: gap[at][key] for key in gap["rise"] if key in gap[at]} for at in ("best", "final"))
        lines.append(f"gap         at the best epoch {_row(at_best)}; at the last {_row(at_last)}")
        lines.append("            " + _overfitting_in_words(gap))
    if result["norm_gradients"]:
        lines += _gradients_in_words(result["norm_gradients"])
    rate, unit = throughput(cost)
    lines.append(
        f"cost        {cost['elapsed_s']:.0f} s, {rate:,.0f} {unit}/s, "
        f"{cost['peak_rss_bytes'] / 2**30:.1f} GiB, {cost['parameters']:,} parameters"
    )
    lines.append(
        f"paired      with runs of data {result['data_fingerprint']}, batch plan {result['plan_fingerprint']}, "
        f"initial weights {result['weights_fingerprint']}"
    )
    lines.append(f"files       {folder}/: result.json, plots (*.svg), metrics.jsonl, checkpoints/")
    if was_finished:
        lines.append(f"test it     python train.py test --config {shlex.quote(str(folder / 'config.yaml'))}")
        lines.append("train more  by a higher --trainer.max_epochs, unless the schedule is linear or cosine")
    other = "adanorm" if result["norm"]["name"] == "layernorm" else "layernorm"
    lines.append(f"next        the same run with another norm: --norm {other}")
    return "\n".join(lines)


def _overfitting_in_words(gap: dict[str, Any]) -> str:
    began, se = gap["onset"]["loss"], gap.get("rise_se", {}).get("loss")
    if se is None:  # of an earlier version, or of a task without losses of examples
        return "the losses of the validation examples, which tell overfitting from noise, were not kept"
    ends = f"{gap['rise']['loss']:.4f} (standard error {se:.4f})"
    if began is not None:
        return (
            f"overfitting since step {began['step']} (epoch {began['epoch']}): validation loss was lowest at step "
            f"{began['best_step']} (epoch {began['best_epoch']}) and ends {ends} above that"
        )
    return f"no overfitting beyond noise: validation loss ends {ends + ' above' if se else 'at'} its minimum"


def _gradients_in_words(gradients: dict[str, Any]) -> list[str]:
    shares = [
        f"{label} {gradients[name]:.3f}"
        for name, label in (("recentring", "re-centring"), ("rescaling", "re-scaling"))
        if gradients[name] is not None
    ]
    measured = f"{', '.join(shares)} (means over all norms" if shares else "none reached the norms (last measured"
    lines = [f"gradient    {measured}, step {gradients['step']})"]
    violations = [gradients[name] for name in ("mean_violation", "variance_violation") if name in gradients]
    if violations:
        worst = max(violations, key=lambda violation: violation["largest"])
        lines.append(
            f"            the theorem's relations hold to {worst['largest']:.1e} (worst at {worst['site']}, step "
            f"{worst['step']})"
        )
    return lines


def _row(scores: dict[str, float]) -> str:
    return ", ".join(f"{metric} {value:.4f}" for metric, value in scores.items())
