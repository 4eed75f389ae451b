"""The state of a study as users see it: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from rich.live import Live
from rich.table import Table

from app.study.launch import Job
from app.study.plan import Condition, Study, Trial
from app.study.trials import is_running, progress_of, result_of, state_of

_EVERY_S = 1.0


class StatusDisplay:
    """Prints lines about trials; on a terminal, keeps a table of them below, while the context `live` is open.

    Args:
        study: the study.
        trials: all trials of the study.
    """

    def __init__(self, study: Study, trials: Sequence[Trial]) -> None:
        self.study, self.trials = study, trials
        self.live: Live | nullcontext[None] = Live(auto_refresh=False) if sys.stdout.isatty() else nullcontext()
        self._refreshed_at = 0.0

    @property
    def has_failed(self) -> bool:
        """Whether a trial has failed and has no retry left."""
        return any(state_of(trial, self.study.retries) == "failed" for trial in self.trials)

    def log(self, line: str) -> None:
        """Print a line, above the table."""
        if isinstance(self.live, Live):
            self.live.console.print(line, highlight=False, markup=False)
        else:
            print(line, flush=True)

    def refresh(self, running: Sequence[Job]) -> None:
        """Draw the table again, at most once a second."""
        if not isinstance(self.live, Live) or time.monotonic() - self._refreshed_at < _EVERY_S:
            return
        self._refreshed_at = time.monotonic()
        table = Table("trial", "state", "epoch", "score", "left", box=None)
        for row in _rows(self.study, self.trials, {job.trial.root for job in running}):
            table.add_row(*row)
        self.live.update(table, refresh=True)


def status_lines(study: Study, trials: Sequence[Trial], words: str = "") -> list[str]:
    """A line for each trial, and one that says how many are done and, once one is, how long the others will take.

    Args:
        study: the study.
        trials: the runs that are known to be needed.
        words: which others depend on their results.
    """
    rows = _rows(study, trials, set())
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*lines, estimate(study, trials, words)]


def estimate(study: Study, trials: Sequence[Trial], words: str = "") -> str:
    """How many trials are done and how long the others will take, one after the other.

    A run that has begun says itself how long it will take, others take the median of the finished ones of the same
    condition.

    Args:
        study: the study.
        trials: the runs that are known to be needed.
        words: which others depend on their results.
    """
    seconds: dict[Condition, list[float]] = {}
    left: list[tuple[Condition, float | None]] = []
    done = 0
    for trial in trials:
        state, result = state_of(trial, study.retries), result_of(trial)
        done += result is not None
        if result is not None and state == "finished":  # a run that diverged ended early
            seconds.setdefault(trial.condition, []).append(result["cost"]["elapsed_s"])
        elif result is None and state != "failed":
            left.append((trial.condition, 0.0 if state == "untested" else progress_of(trial).seconds_left))
    text = f"{done} of {len(trials)} trials done"
    further = f"; {words}" if words else ""
    if not left or not seconds:
        return text + further
    known = {condition: statistics.median(times) for condition, times in seconds.items()}
    usual = statistics.median(known.values())
    rest = sum(known.get(condition, usual) if own is None else own for condition, own in left)
    return f"{text}; the other {len(left)} will take about {rest / 60:.0f} minutes, one after the other{further}"


def _rows(study: Study, trials: Sequence[Trial], active: set[Path]) -> list[list[str]]:
    rows = []
    for trial in trials:
        progress, state = progress_of(trial), str(state_of(trial, study.retries))
        epoch, score, left = progress.epoch, "", ""
        if trial.root in active or is_running(trial):
            state = "testing" if state == "untested" else "running"
        if progress.score is not None:
            score = f"{progress.split} {progress.score:.{2 if abs(progress.score) >= 10 else 4}f}"
        if progress.seconds_left is not None and state in ("running", "stopped"):
            left = f"{int(progress.seconds_left) // 60}:{int(progress.seconds_left) % 60:02d}"
        rows.append([trial.name, state, "" if epoch is None else str(epoch), score, left])
    return rows
