"""The report of a study: report.html in one file, report.md, table.csv, table.tex, and its figures as svg and pdf."""

from __future__ import annotations

import csv
import io
import math
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, select_autoescape

from app.errors import InputError
from app.figures import bars, curve_bands, save
from app.metrics import LOSS
from app.runs.atomic_write import atomic_write
from app.runs.metrics_file import read_events
from app.runs.result import throughput
from app.study.analysis.analyse import analyse
from app.study.analysis.quantities import BY_NAME
from app.study.analysis.tables import Row, Table
from app.study.analysis.words import interval, number
from app.study.plan import Study, Trial
from app.study.published import published
from app.study.sentence_bootstrap import sentence_tests
from app.study.status_display import estimate
from app.study.trials import run_folder, state_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = ("mean", "sd", "seeds", "difference", "95 %", "p (family)", "detectable", "paper")


def write_report(study: Study, trials: Sequence[Trial], folder: Path, twin_axes: bool = False) -> Path:
    """Write all files of the report into a folder.

    Args:
        study: the study.
        trials: all its trials.
        folder: where the files go.
        twin_axes: draw validation on an axis of its own, as the paper's figures do.

    Returns:
        The path of report.html.

    Raises:
        InputError: for a study of which no run has ended.
    """
    analysis = analyse(study, trials)
    found = analysis.tables
    if not found:
        raise InputError(f"study {study.name}: no run has ended yet; start them with python -m app.study run")
    folder.mkdir(parents=True, exist_ok=True)
    shown = {
        "study": study,
        "progress": estimate(study, trials),
        "analysis": analysis,
        "tables": found,
        "columns": _COLUMNS,
        "row_cells": row_cells,
        "sentences": [test for table in found for test in sentence_tests(table, study.baseline)],
        "plots": [plot for table in found for plot in _plots(table, folder, twin_axes)],
        "costs": [row for table in found for row in _costs(table)],
        "trials": [(trial, state_of(trial, study.retries)) for trial in trials],
    }
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(["html.j2"]),
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    texts = {
        **{name: templates.get_template(f"{name}.j2").render(shown) for name in ("report.html", "report.md")},
        "table.csv": _csv(found),
        "table.tex": _tex(found),
    }
    for name, text in texts.items():
        with atomic_write(folder / name) as part:
            part.write_text(text, encoding="utf-8")
    return folder / "report.html"


def row_cells(table: Table, row: Row) -> list[str]:
    """The cells of a norm's row; * marks a difference that is shown."""
    compared = row.comparison
    found = compared.estimate if compared else None
    scores = list(row.scores.values())
    sd = statistics.stdev(scores) if len(scores) > 1 else math.nan
    se = sd / math.sqrt(len(scores)) if scores else math.nan
    return [
        row.variant.label,
        number(statistics.fmean(scores), se) if scores else "",
        number(sd, se),
        str(len(scores)) + (f", {len(row.diverged)} diverged" if row.diverged else "")
        + (f", {len(row.missing)} missing" if row.missing else ""),
        "" if found is None else number(found.mean, found.se, signed=True) + "*" * bool(compared and compared.is_shown),
        "" if found is None else interval(found.low, found.high, found.se),
        "" if found is None or math.isnan(found.adjusted) else f"{found.adjusted:.3f}",
        "" if found is None else number(found.detectable.value, found.se),
        published(table.dataset, row.variant),
    ]  # fmt: skip


def _plots(table: Table, folder: Path, twin_axes: bool) -> list[tuple[str, str]]:
    """Captions and svg texts; each plot is also written to a file of its own, as svg and as pdf."""
    name = table.condition.replace(", ", "_").replace(" ", "-")
    events = {
        row.variant.label: [read_events(run) for trial in row.trials.values() if (run := run_folder(trial)) is not None]
        for row in table.rows
    }
    metrics = list(dict.fromkeys((LOSS, table.metric)))
    title = f"{table.name}: mean over seeds, band one standard deviation"
    curves = curve_bands(events, metrics, title, twin_axes)
    plots = [(f"{table.name}: curves", _draw(curves, folder, f"{name}_curves"))]
    quantities = {
        "gap of the loss at the end (nats)": BY_NAME["gap"],
        "rise of valid loss past its best": BY_NAME["rise"],
        "re-centring, last measured": BY_NAME["recentring"],
        "re-scaling, last measured": BY_NAME["rescaling"],
    }
    values = {
        words: {
            row.variant.label: [v for result in row.results.values() if (v := quantity.value(result)) is not None]
            for row in table.rows
        }
        for words, quantity in quantities.items()
    }
    if measured := {quantity: by_norm for quantity, by_norm in values.items() if any(by_norm.values())}:
        figure = bars(measured, f"{table.name}: bars are means, dots are seeds")
        plots.append((f"{table.name}: gap and gradients by norm", _draw(figure, folder, f"{name}_norms")))
    return plots


def _draw(figure: Figure, folder: Path, name: str) -> str:
    for suffix in ("pdf", "svg"):
        save(figure, folder / f"{name}.{suffix}")
    text = (folder / f"{name}.svg").read_text(encoding="utf-8")
    return text[text.index("<svg") :]


def _costs(table: Table) -> list[list[str]]:
    rows = []
    for row in table.rows:
        costs = [result["cost"] for result in row.results.values()]
        if costs:
            seconds, memory = (statistics.fmean(cost[key] for cost in costs) for key in ("elapsed_s", "peak_rss_bytes"))
            rates, units = zip(*map(throughput, costs), strict=True)
            speed, parameters = f"{statistics.fmean(rates):,.0f} {units[-1]}/s", f"{costs[0]['parameters']:,}"
            cells = [f"{seconds / 60:.1f}", speed, f"{memory / 2**30:.1f}", parameters]
            rows.append([table.name, row.variant.label, *cells])
    return rows


def _csv(found: Sequence[Table]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["task", "dataset", "model", "metric", "norm", *_COLUMNS])
    for table in found:
        writer.writerows(
            [table.task, table.dataset, table.model, table.metric.name, *row_cells(table, row)] for row in table.rows
        )
    return file.getvalue()


def _tex(found: Sequence[Table]) -> str:
    lines = [
        r"\begin{tabular}{ll" + "r" * len(_COLUMNS) + "}",
        r"\hline",
        _tex_row(["data", "norm", *_COLUMNS]),
        r"\hline",
    ]
    for table in found:
        lines += [_tex_row([table.name, *row_cells(table, row)]) for row in table.rows]
    return "\n".join([*lines, r"\hline", r"\end{tabular}"]) + "\n"


def _tex_row(cells: Sequence[str]) -> str:
    return " & ".join(re.sub("[%_&#]", r"\\\g<0>", cell) for cell in cells) + r" \\"
