"""Reads a run from its folder: the task with its weights, its data, and the scores of these weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from app.cli.main import CLI
from app.cli.norm import fold_norm
from app.datamodules.base import DataModule
from app.errors import InputError
from app.installation import BASE_CONFIG
from app.runs.averaging import mean_checkpoint
from app.runs.folder import find_checkpoint, weights_to_average
from app.runs.result import read_result
from app.tasks import Task

# how and where it was trained does not matter: it is read on this machine, in one process, in the weights' own dtype
_HERE = (
    "accelerator=cpu", "devices=1", "num_nodes=1", "strategy=auto", "precision=null", "plugins=null", "logger=null",
    "fast_dev_run=false",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        folder: the run folder.
        task: the task with its weights, in eval mode, on the CPU.
        data: its datamodule.
        result: content of result.json.
        weights: which weights they are, in words.
        scores: scores of these weights by split (valid, train probe, test); splits that were not scored are missing.
        step: number of updates before these weights; None for a mean.
    """

    folder: Path
    task: Task
    data: DataModule
    result: dict[str, Any]
    weights: str
    scores: dict[str, dict[str, float]]
    step: int | None


def read_run(folder: Path, which: str | None, average: int | None) -> Run:
    """Read a run folder, and build its task as train.py does.

    Args:
        folder: a run folder that fit wrote.
        which: best, last, or the path of a checkpoint; None for what train.py test takes: the best, or a mean.
        average: take the mean of the weights of the last `average` validations; None for the number in the run's own
            settings, unless `which` is given.

    Raises:
        InputError: if the folder is not of a finished run, weights are missing or do not fit, or the data is gone.
    """
    result = _result(folder)
    read = _read_settings(folder)
    if average is None and which is None:
        average = read.settings.average_checkpoints
    if average is not None:
        files = weights_to_average(folder, average)
        label = f"mean of the weights of the last {len(files)} validations"
        checkpoint = mean_checkpoint(files)
    else:
        path = find_checkpoint(folder, which or "best")
        label = f"{which or 'best'} checkpoint" if which in (None, "best", "last") else str(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    read.model.on_load_checkpoint(checkpoint)
    weights = checkpoint["state_dict"]
    read.model.to(next(tensor.dtype for tensor in weights.values() if tensor.is_floating_point()))
    read.model.load_state_dict(weights)
    step = None if average is not None else int(checkpoint["global_step"])
    is_own = average is not None or folder.resolve() in path.resolve().parents
    scores = _scores(result, step, label) if is_own else {}
    return Run(folder, read.model.eval(), read.datamodule, result, label, scores, step)


class _Reader(CLI):
    """Runs `train.py predict`, which needs no training data, up to the point where it would load weights."""

    def predict(self, *_: Any, **__: Any) -> None:
        """Do nothing: task and datamodule have been built."""


def _read_settings(folder: Path) -> _Reader:
    arguments = ["predict", "--config", str(folder / "config.yaml"), "--trainer.callbacks=null"]
    arguments += [f"--trainer.{setting}" for setting in _HERE]
    return _Reader(fold_norm(arguments, [BASE_CONFIG]))


def _result(folder: Path) -> dict[str, Any]:
    if not (folder / "config.yaml").is_file():
        raise InputError(f"{folder} is not a run folder (it has no config.yaml); use one that train.py fit wrote")
    result = read_result(folder)
    if result is None:
        raise InputError(
            f"{folder} is the folder of a run that has not ended (it has no result.json); resume it by train.py fit "
            f"--config {folder / 'config.yaml'} --ckpt_path last"
        )
    return result


def _scores(result: dict[str, Any], step: int | None, label: str) -> dict[str, dict[str, float]]:
    """Return the scores that the run recorded for these weights."""
    scores: dict[str, Any] = {}
    best = result["best"] or {}
    for recorded in (best, result["final"] or {}):
        if step is not None and recorded.get("step") == step and not scores:
            scores = {"valid": recorded["val"], "train probe": recorded["train_probe"]}
    is_tested = result["tested"] == label or (result["tested"] == "best checkpoint" and best.get("step") == step)
    scores["test"] = result["test"] if is_tested else None
    return {split: numbers for split, numbers in scores.items() if numbers}
