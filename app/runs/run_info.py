"""run.json: which run a folder is of and which metric chooses its best checkpoint, known while it still trains."""

from __future__ import annotations

import json
from pathlib import Path

from app.metrics import MetricInfo
from app.runs.atomic_write import atomic_write
from app.runs.identity import RunIdentity
from app.runs.result import read_result

FILE_NAME = "run.json"


def write_run_info(folder: Path, identity: RunIdentity, primary: MetricInfo) -> None:
    """Write run.json, whole or not at all.

    Args:
        folder: the run folder.
        identity: task, dataset, model, norm, placement and seed of the run.
        primary: the metric that chooses the best checkpoint.

    Raises:
        InputError: if it cannot be written.
    """
    info = {
        "task": identity.task,
        "dataset": identity.dataset,
        "model": identity.model,
        "norm": {"name": identity.norm.name, **identity.norm.to_dict(), "label": identity.norm.label},
        "placement": identity.placement.to_dict(),
        "seed": identity.seed,
        "primary_metric": primary.to_dict(),
    }
    with atomic_write(folder / FILE_NAME) as part:
        part.write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")


def read_primary_metric(folder: Path) -> MetricInfo | None:
    """The primary metric of a run; None for one that has written neither run.json nor result.json yet."""
    try:
        info = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:  # before the first step, or a run of an earlier version
        info = read_result(folder)
    return None if info is None else MetricInfo.from_dict(info["primary_metric"])
