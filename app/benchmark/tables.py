"""Tables of measurements: rows that are printed as Markdown as they come, and kept as CSV files if wanted."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from app.runs.atomic_write import atomic_write


@dataclass(frozen=True)
class Spread:
    """The median of repeated measurements, and their quartiles."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the quartiles; of fewer than four values, the extremes instead of quartiles."""
    if len(values) < 4:
        return Spread(statistics.median(values), min(values), max(values))
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(middle, low, high)


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Args:
        table: the table's name, which is the name of its CSV file.
        cells: values by column; all rows of a table have the same columns.
    """

    table: str
    cells: Mapping[str, str | float | Spread]


def print_tables(lines: Iterable[str | Row], folder: Path | None = None) -> None:
    """Print sentences and rows as they come; a row of another table than the one before begins that table.

    Args:
        lines: sentences and rows.
        folder: where each table is written as TABLE.csv, with a column more for each quartile; None writes no files.

    Raises:
        InputError: if a file cannot be written.
    """
    table = None
    with ExitStack() as files:
        for line in lines:
            if isinstance(line, str):
                print(line, flush=True)
                continue
            if line.table != table:
                print(*(["\n"] if table else []), f"| {' | '.join(line.cells)} |\n{'|---' * len(line.cells)}|", sep="")
                if folder is not None:
                    part = files.enter_context(atomic_write(folder / f"{line.table}.csv"))
                    file = files.enter_context(part.open("w", encoding="utf-8", newline=""))
                    writer = csv.DictWriter(file, _flat(line.cells), lineterminator="\n")
                    writer.writeheader()
                table = line.table
            print(f"| {' | '.join(map(_cell, line.cells.values()))} |", flush=True)
            if folder is not None:
                writer.writerow(_flat(line.cells))


def _cell(value: str | float | Spread) -> str:
    if isinstance(value, Spread):
        return f"{_cell(value.median)} ({_cell(value.low)} to {_cell(value.high)})"
    if isinstance(value, str):
        return value.replace("|", "\\|")
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _flat(cells: Mapping[str, str | float | Spread]) -> dict[str, str]:
    """The cells of a line of a CSV file, numbers to four digits or to the unit."""
    flat: dict[str, str | float] = {}
    for column, value in cells.items():
        if isinstance(value, Spread):
            flat |= {column: value.median, f"{column} low": value.low, f"{column} high": value.high}
        else:
            flat[column] = value
    return {
        column: value if isinstance(value, str) else f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
        for column, value in flat.items()
    }
