"""The state of a trial, read from the files of its run; there is no second record that could contradict them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from app.runs.folder import CHECKPOINTS, LOCK, is_in_use
from app.runs.identity import RunIdentity
from app.runs.metrics_file import FILE_NAME, last_value
from app.runs.result import FILE_NAME as RESULT
from app.runs.result import read_result
from app.runs.run_info import read_primary_metric
from app.study.plan import Trial

State = Literal["waiting", "stopped", "untested", "failed", "finished", "diverged"]
DONE: tuple[State, ...] = ("finished", "diverged")


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        epoch: of its newest event, from 1.
        score: primary metric in the unit of tables, per cent where it is a share.
        split: what it is of: test once the run is tested, else val, for the last validation.
        seconds_left: until training ends, by the run's own estimate; None where nothing is left to train.
    """

    epoch: int | None = None
    score: float | None = None
    split: Literal["val", "test"] = "val"
    seconds_left: float | None = None


def state_of(trial: Trial, retries: int) -> State:
    """Finished and diverged trials are not run again, stopped and untested ones resume, failed ones end there."""
    result = result_of(trial)
    if result is not None:
        return "diverged" if result["status"] == "diverged" else "finished"
    if failures(trial) > retries:
        return "failed"
    if checkpoint_of(trial) is None:
        return "waiting"
    return "untested" if (_result(trial) or {}).get("status") in ("untested", "finished") else "stopped"


def run_folder(trial: Trial) -> Path | None:
    """The folder of the trial's run, if it has one.

    Only the run knows the names of its task and dataset, and the sites where its config sets them, so it is looked for:
    `root` holds one run, or is one that no study started. Earlier runs that it replaced are next to it, renamed.
    """
    if (trial.root / RESULT).is_file():
        return trial.root
    return next(RunIdentity.folders_in(trial.root, trial.seed), None)


def is_running(trial: Trial) -> bool:
    """Whether a process has the trial's run, no matter who started it."""
    folder = run_folder(trial)
    return folder is not None and is_in_use(folder)


def result_of(trial: Trial) -> dict[str, Any] | None:
    """result.json of a run that finished, including its test, which those that tune have not, or that diverged."""
    result = _result(trial) if trial.result is None else dict(trial.result)
    return result if trial.phase == "tune" and result and result["status"] in DONE else _ended(result)


def result_in(folder: Path) -> dict[str, Any] | None:
    """result.json of a run folder, if the run finished, including its test, or diverged."""
    return _ended(read_result(folder))


def _ended(result: dict[str, Any] | None) -> dict[str, Any] | None:
    if result is None or result["status"] not in DONE or (result["status"] == "finished" and result["test"] is None):
        return None
    return result


def _result(trial: Trial) -> dict[str, Any] | None:
    folder = run_folder(trial)
    return read_result(folder) if folder else None


def checkpoint_of(trial: Trial) -> Path | None:
    """last.ckpt, from which a stopped run resumes."""
    folder = run_folder(trial)
    path = folder / CHECKPOINTS / "last.ckpt" if folder else None
    return path if path is not None and path.is_file() else None


def failures(trial: Trial) -> int:
    """How often the run has ended with an error."""
    path = trial.root / "failures"
    return len(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else 0


def note_failure(trial: Trial, status: int) -> None:
    """Record that the run failed, with its exit status."""
    with open(trial.root / "failures", "a", encoding="utf-8") as file:
        file.write(f"exit status {status}\n")


def remark(trial: Trial, words: str) -> None:
    """Append a line to the trial's log about something that its run cannot report itself."""
    with open(trial.log, "a", encoding="utf-8") as file:
        file.write(f"{words}\n")


def last_log_line(trial: Trial) -> str:
    """The last line of the trial's log that is not empty; "" where there is none."""
    lines = trial.log.read_text(encoding="utf-8", errors="replace").splitlines() if trial.log.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def progress_of(trial: Trial) -> Progress:
    """How far the trial's run is, by its newest events and, when it is done, by its test."""
    folder = run_folder(trial)
    if folder is None:
        return Progress()
    result, metric = _result(trial) or {}, read_primary_metric(folder)
    is_trained = result.get("status") in ("untested", *DONE)
    split: Literal["val", "test"] = "test" if result_of(trial) is not None and result["test"] else "val"
    score = None
    if metric is not None:
        score = result["test"][metric.name] if split == "test" else last_value(folder, f"val/{metric.name}")
        score = 100 * score if metric.is_share and score is not None else score
    return Progress(last_value(folder, "epoch"), score, split, None if is_trained else _seconds_left(folder))


def _seconds_left(folder: Path) -> float | None:
    """The run's newest estimate; while a process has the run, minus the time since it made it or resumed."""
    left = last_value(folder, "seconds_left")
    if left is None or not is_in_use(folder):
        return left
    since = max((folder / name).stat().st_mtime for name in (FILE_NAME, LOCK))
    return max(0.0, left - max(0.0, time.time() - since))
