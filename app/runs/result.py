"""result.json: what came out of a run; built, written and read here and nowhere else."""

from __future__ import annotations

import json
import platform
import resource
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from app.errors import InputError
from app.installation import app_version
from app.metrics import MetricInfo
from app.norms import NormSpec
from app.runs.atomic_write import atomic_write
from app.runs.identity import RunIdentity
from app.runs.metrics_file import Event

FILE_NAME = "result.json"
SCHEMA = 2  # raised when a key changes its meaning
Status = Literal["finished", "untested", "diverged", "stopped"]  # untested: trained, and its test is missing


def build_result(
    *,
    identity: RunIdentity,
    norm: NormSpec,
    replaced: int,
    total: int,
    left: Sequence[str],
    status: Status,
    step: int,
    primary: MetricInfo,
    events: Sequence[Event],
    cost: dict[str, Any],
    fingerprints: dict[str, str],
    training: dict[str, Any],
    seeds: dict[str, int],
) -> dict[str, Any]:
    """Everything of result.json but what callbacks add and the test scores, which come after the test.

    Args:
        identity: task, dataset, model, norm, placement and seed.
        norm: the norm, its options and its sites.
        replaced: norms of the model that were replaced.
        total: norms of the model.
        left: paths of those that cannot be replaced.
        status: how the run ended.
        step: updates made.
        primary: the metric that chooses the best checkpoint.
        events: events of the run in order.
        cost: elapsed_s, unit (what was counted, such as tokens), the count under this name, parameters, processes.
        fingerprints: of data, plan and weights (initial ones outside the norms): runs that agree in all are paired.
        training: what decides what was trained, besides norm, placement and seeds; see `training_settings`.
        seeds: of weights, batches, dropout and splits.
    """
    validations = [event for event in events if event.get(f"val/{primary.name}") is not None]
    choose = max if primary.higher_is_better else min
    best = choose(validations, key=lambda event: event[f"val/{primary.name}"], default=None)  # the first of equals
    with_loss = (event for event in events if event.get("val/loss") is not None)
    return {
        "schema": SCHEMA,
        "signature": identity.signature(replaced, total, f"steps:{step}"),
        "task": identity.task,
        "dataset": identity.dataset,
        "model": identity.model,
        "norm": {
            "name": norm.name,
            **norm.to_dict(),
            "label": norm.label,
            "replaced": replaced,
            "total": total,
            "left": list(left),
        },
        "placement": identity.placement.to_dict(),
        "seed": identity.seed,
        "seeds": seeds,
        "training": training,
        "status": status,
        "primary_metric": primary.to_dict(),
        "best": _scores(best),
        "best_by_loss": _scores(min(with_loss, key=lambda event: event["val/loss"], default=None)),
        "final": _scores(validations[-1]) if validations else None,
        "test": None,
        "tested": None,
        "score_signatures": {},
        "gap": None,  # OverfittingGap's
        "norm_gradients": {},  # NormGradients'
        "cost": {
            **cost,
            f"{cost['unit']}_per_s": cost[cost["unit"]] / cost["elapsed_s"] if cost["elapsed_s"] else 0.0,
            "peak_rss_bytes": _peak_rss_bytes(),
        },
        "versions": package_versions(),
        **{f"{name}_fingerprint": digest for name, digest in fingerprints.items()},
    }


def write_result(folder: Path, result: dict[str, Any]) -> None:
    """Write result.json, whole or not at all.

    Raises:
        InputError: if it cannot be written.
    """
    with atomic_write(folder / FILE_NAME) as part:
        part.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def read_result(folder: Path) -> dict[str, Any] | None:
    """What `write_result` wrote; None for a run that has not ended.

    Raises:
        InputError: for a file that is not a result of this schema.
    """
    path = folder / FILE_NAME
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON ({error}); use an unmodified run folder written by fit") from error
    schema = result.get("schema") if isinstance(result, dict) else None
    if schema != SCHEMA:
        raise InputError(
            f"{path} has schema {schema}, expected {SCHEMA}; use a run folder written by this version's fit"
        )
    return result


def package_versions() -> dict[str, str]:
    """The versions of this project, as `app`, of Python and of the libraries that compute."""
    packages = ("torch", "pytorch-lightning", "transformers")
    return {
        "app": app_version(),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def throughput(cost: dict[str, Any]) -> tuple[float, str]:
    """How much a run processed per second, and of what; results of earlier versions say tokens of everything."""
    unit = cost.get("unit", "tokens")
    return cost[f"{unit}_per_s"], unit


def _scores(event: Event | None) -> dict[str, Any] | None:
    if event is None:
        return None
    scores = {
        split: {key.removeprefix(f"{split}/"): value for key, value in event.items() if key.startswith(f"{split}/")}
        for split in ("val", "train_probe")
    }
    return {"epoch": event["epoch"], "step": event["step"], **scores}


def _peak_rss_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # Linux counts in KiB
