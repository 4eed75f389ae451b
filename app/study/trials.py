"""The state of a trial, read from the files of its run; there is no second record that could contradict them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from app.runs.folder import CHECKPOINTS, is_in_use
from app.runs.identity import RunIdentity
from app.runs.metrics_file import read_last_events
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
        score: primary metric of its last validation.
        seconds_left: the run's own estimate.
    """

    epoch: int | None = None
    score: float | None = None
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
    `root` holds one run. Earlier runs that a later one replaced are next to it, renamed.
    """
    return next(RunIdentity.folders_in(trial.root, trial.seed), None)


def is_running(trial: Trial) -> bool:
    """Whether a process has the trial's run, no matter who started it."""
    folder = run_folder(trial)
    return folder is not None and is_in_use(folder)


def result_of(trial: Trial) -> dict[str, Any] | None:
    """result.json of a run that finished, including its test, or that diverged."""
    result = _result(trial)
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
    """How far the trial's run is, by its newest events."""
    folder = run_folder(trial)
    events = read_last_events(folder) if folder else []
    if folder is None or not events:
        return Progress()
    primary = read_primary_metric(folder)

    def newest(key: str) -> float | None:
        return next((event[key] for event in reversed(events) if key in event), None)

    return Progress(newest("epoch"), newest(f"val/{primary.name}") if primary else None, newest("seconds_left"))
