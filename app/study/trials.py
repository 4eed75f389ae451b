"""Where a trial stands, read from what its run has written: there is no other record that could be wrong."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from app.runs.folder import LOCK, is_in_use
from app.study.plan import Trial

State = Literal["waiting", "stopped", "failed", "finished", "diverged"]
DONE: tuple[State, ...] = ("finished", "diverged")
_TAIL = 1 << 16  # bytes at the end of a file that its last lines are looked for in
_TIME_LEFT = re.compile(r"\[(\d+):(\d\d) left\]")


@dataclass(frozen=True)
class Progress:
    """What a table shows of a run in progress: epoch, score of the last validation, seconds left by its own log."""

    epoch: int | None = None
    score: float | None = None
    seconds_left: int | None = None


def state_of(trial: Trial, retries: int) -> State:
    """Finished and diverged ones are not run again; stopped ones go on from last.ckpt; failed ones have no try left."""
    result = result_of(trial)
    if result is not None:
        return "diverged" if result["status"] == "diverged" else "finished"
    if failures(trial) > retries:
        return "failed"
    return "stopped" if checkpoint_of(trial) is not None else "waiting"


def is_running(trial: Trial) -> bool:
    """Whether a process has the trial's run, whoever started it."""
    return any(is_in_use(path.parent) for path in trial.root.glob(f"*/*/*/seed{trial.seed}/{LOCK}"))


def run_folder(trial: Trial) -> Path | None:
    """The folder of the trial's run, if it has one; runs that a later one has replaced lie beside it, renamed."""
    found = [path.parent for path in trial.root.glob(f"*/*/*/seed{trial.seed}/config.yaml")]
    return found[0] if found else None


def result_of(trial: Trial) -> dict[str, Any] | None:
    """result.json of a run that came to its end, test included, or that diverged."""
    folder = run_folder(trial)
    path = folder / "result.json" if folder else None
    if path is None or not path.is_file():
        return None
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    ended = result["status"] == "diverged" or (result["status"] == "finished" and result["test"] is not None)
    return result if ended else None


def checkpoint_of(trial: Trial) -> Path | None:
    """last.ckpt, from which a stopped run goes on."""
    folder = run_folder(trial)
    path = folder / "checkpoints" / "last.ckpt" if folder else None
    return path if path is not None and path.is_file() else None


def failures(trial: Trial) -> int:
    """How often the run ended with an error so far."""
    path = trial.root / "failures"
    return len(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else 0


def note_failure(trial: Trial, status: int) -> None:
    """Remember that the run ended with an exit status that is no end of a run."""
    with open(trial.root / "failures", "a", encoding="utf-8") as file:
        file.write(f"exit status {status}\n")


def remark(trial: Trial, words: str) -> None:
    """A line at the end of the trial's log, of what its run can not say itself."""
    with open(trial.log, "a", encoding="utf-8") as file:
        file.write(f"{words}\n")


def last_log_line(trial: Trial) -> str:
    """The last line of the trial's log that says something."""
    lines = [line for line in _tail(trial.log).splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def progress_of(trial: Trial) -> Progress:
    """How far a run is, by the last lines of its metrics.jsonl and its log."""
    folder = run_folder(trial)
    lines = _tail(folder / "metrics.jsonl").splitlines() if folder else []
    events = [event for event in map(_event, lines) if event is not None]
    times = _TIME_LEFT.findall(_tail(trial.log))
    score = None
    for event in events:
        scores = [value for key, value in event.items() if key.startswith("val/") and key != "val/loss"]
        score = scores[0] if scores else event.get("val/loss", score)
    return Progress(
        epoch=events[-1]["epoch"] if events else None,
        score=score,
        seconds_left=60 * int(times[-1][0]) + int(times[-1][1]) if times else None,
    )


def _event(line: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except json.JSONDecodeError:  # the first line of a tail, or one that is being written
        return None
    return event if isinstance(event, dict) else None


def _tail(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL))
            return file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
