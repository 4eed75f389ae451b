"""Where a study stands, for people: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from app.study.launch import Job
from app.study.plan import Study, Trial
from app.study.trials import is_running, progress_of, result_of, state_of

_EVERY_S = 1.0


class StatusDisplay:
    """Says what happens to trials; on a terminal, keeps a table of them below.

    Args:
        study: whose trials these are.
        trials: all of them.
    """

    def __init__(self, study: Study, trials: Sequence[Trial]) -> None:
        self.study, self.trials = study, trials
        self._console = Console()
        self._live = Live(console=self._console, auto_refresh=False) if sys.stdout.isatty() else None
        self._looked_at = 0.0

    def __enter__(self) -> StatusDisplay:
        """Show the table."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave it as it is."""
        if self._live is not None:
            self._live.stop()

    @property
    def has_failed(self) -> bool:
        """Whether a trial has no try left."""
        return any(state_of(trial, self.study.retries) == "failed" for trial in self.trials)

    def log(self, line: str) -> None:
        """A line, above the table."""
        if self._live is not None:
            self._console.print(line, highlight=False, markup=False)
        else:
            print(line, flush=True)

    def refresh(self, running: Sequence[Job]) -> None:
        """Draw the table anew, at most once a second."""
        if self._live is None or time.monotonic() - self._looked_at < _EVERY_S:
            return
        self._looked_at = time.monotonic()
        active = {job.trial.root for job in running}
        table = Table("trial", "state", "epoch", "score", "left", box=None)
        for row in _rows(self.study, self.trials, active):
            table.add_row(*row)
        self._live.update(table, refresh=True)


def status_lines(study: Study, trials: Sequence[Trial]) -> list[str]:
    """A line a trial, and how much is done, with an estimate of the rest once a trial has run."""
    rows = _rows(study, trials, set())
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*lines, estimate(study, trials)]


def estimate(study: Study, trials: Sequence[Trial]) -> str:
    """How many trials are done, and how long the others take one after the other, by the median of their config's."""
    seconds: dict[str, list[float]] = {}
    left = []
    for trial in trials:
        result = result_of(trial)
        if result is not None:
            seconds.setdefault(trial.config, []).append(result["cost"]["elapsed_s"])
        elif state_of(trial, study.retries) != "failed":
            left.append(trial.config)
    done = sum(map(len, seconds.values()))
    text = f"{done} of {len(trials)} trials done"
    if not left or not seconds:
        return text
    known = {config: statistics.median(times) for config, times in seconds.items()}
    rest = sum(known.get(config, statistics.median(known.values())) for config in left)
    return f"{text}; the other {len(left)} take about {rest / 60:.0f} minutes, one at a time"


def _rows(study: Study, trials: Sequence[Trial], active: set[object]) -> list[list[str]]:
    rows = []
    for trial in trials:
        progress = progress_of(trial)
        state = "running" if trial.root in active or is_running(trial) else state_of(trial, study.retries)
        left = progress.seconds_left if state == "running" else None
        rows.append(
            [
                trial.name,
                state,
                "" if progress.epoch is None else str(progress.epoch),
                "" if progress.score is None else f"{progress.score:.4f}",
                "" if left is None else f"{int(left) // 60}:{int(left) % 60:02d}",
            ]
        )
    return rows
