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
from app.study.plan import Cell, Study
from app.study.trials import is_running, progress_of, result_of, state_of

_EVERY_S = 1.0


class Watch:
    """Says what happens to cells; on a terminal, keeps a table of them below.

    Args:
        study: whose cells these are.
        cells: all of them.
    """

    def __init__(self, study: Study, cells: Sequence[Cell]) -> None:
        self.study, self.cells = study, cells
        self._console = Console()
        self._live = Live(console=self._console, auto_refresh=False) if sys.stdout.isatty() else None
        self._looked_at = 0.0

    def __enter__(self) -> Watch:
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
        """Whether a cell has no try left."""
        return any(state_of(cell, self.study.retries) == "failed" for cell in self.cells)

    def say(self, line: str) -> None:
        """A line, above the table."""
        if self._live is not None:
            self._console.print(line, highlight=False, markup=False)
        else:
            print(line, flush=True)

    def look(self, running: Sequence[Job]) -> None:
        """Draw the table anew, at most once a second."""
        if self._live is None or time.monotonic() - self._looked_at < _EVERY_S:
            return
        self._looked_at = time.monotonic()
        active = {job.cell.root for job in running}
        table = Table("cell", "state", "epoch", "score", "left", box=None)
        for row in _rows(self.study, self.cells, active):
            table.add_row(*row)
        self._live.update(table, refresh=True)


def status_lines(study: Study, cells: Sequence[Cell]) -> list[str]:
    """A line a cell, and how much is done, with an estimate of the rest once a cell has run."""
    rows = _rows(study, cells, set())
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*lines, estimate(study, cells)]


def estimate(study: Study, cells: Sequence[Cell]) -> str:
    """How many cells are done, and how long the others take one after the other, by the median of their config's."""
    seconds: dict[str, list[float]] = {}
    left = []
    for cell in cells:
        result = result_of(cell)
        if result is not None:
            seconds.setdefault(cell.config, []).append(result["cost"]["elapsed_s"])
        elif state_of(cell, study.retries) != "failed":
            left.append(cell.config)
    done = sum(map(len, seconds.values()))
    text = f"{done} of {len(cells)} cells done"
    if not left or not seconds:
        return text
    known = {config: statistics.median(times) for config, times in seconds.items()}
    rest = sum(known.get(config, statistics.median(known.values())) for config in left)
    return f"{text}; the other {len(left)} take about {rest / 60:.0f} minutes, one at a time"


def _rows(study: Study, cells: Sequence[Cell], active: set[object]) -> list[list[str]]:
    rows = []
    for cell in cells:
        progress = progress_of(cell)
        state = "running" if cell.root in active or is_running(cell) else state_of(cell, study.retries)
        left = progress.seconds_left if state == "running" else None
        rows.append(
            [
                cell.name,
                state,
                "" if progress.epoch is None else str(progress.epoch),
                "" if progress.score is None else f"{progress.score:.4f}",
                "" if left is None else f"{left // 60}:{left % 60:02d}",
            ]
        )
    return rows
