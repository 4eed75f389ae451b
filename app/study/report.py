"""The report of a study: report.html in one file, report.md, table.csv, table.tex, and its figures as svg and pdf."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader

from app.errors import InputError
from app.figures import bars, curve_bands, save
from app.metrics import metric_info
from app.runs.atomic_write import atomic_write
from app.study.claims import answers
from app.study.comparison import NormRow, Table, tables
from app.study.plan import Study, Trial, label_of
from app.study.published import published
from app.study.table import estimate
from app.study.translations import sentence_tests
from app.study.trials import run_folder, state_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = ("mean", "sd", "seeds", "difference", "95 % (t)", "95 % (bootstrap)", "p (Holm)", "detectable", "paper")


def write_report(study: Study, trials: Sequence[Trial], folder: Path) -> Path:
    """Write all of it into a folder, and give back the path of report.html.

    Raises:
        InputError: for a study without a run that has ended.
    """
    found = tables(study, trials)
    if not found:
        raise InputError(f"study {study.name}: no run has ended yet; python -m app.study run makes them")
    folder.mkdir(parents=True, exist_ok=True)
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True)
    shown = {
        "study": study,
        "norms": ", ".join(map(label_of, study.norms)),
        "baseline": label_of(study.baseline),
        "progress": estimate(study, trials),
        "answers": answers(found),
        "tables": found,
        "row_cells": row_cells,
        "sentences": [test for table in found for test in sentence_tests(table, trials, label_of(study.baseline))],
        "plots": _pictures(study, trials, found, folder),
        "costs": [row for table in found for row in _costs(table)],
        "trials": trials,
        "states": [state_of(trial, study.retries) for trial in trials],
    }
    _write(folder / "report.html", environment.get_template("report.html.j2").render(shown))
    _write(folder / "report.md", _markdown(shown))
    _write(folder / "table.csv", _csv(found))
    _write(folder / "table.tex", _tex(found))
    return folder / "report.html"


def row_cells(table: Table, row: NormRow) -> list[str]:
    """A norm's line of the table, as text: the best one says so, and * marks a difference that is shown."""
    test, difference = row.test, row.difference
    in_paper, number = published(table.dataset, row.norm.partition("(")[0])
    mark = "*" if row.is_shown else ""
    return [
        row.norm + (" (best)" if row.norm == table.best else ""),
        "" if test is None else f"{test.mean:.2f}",
        "" if test is None or math.isnan(test.sd) else f"{test.sd:.2f}",
        str(len(row.results)) + (f", {row.diverged} diverged" if row.diverged else "")
        + (f", {row.missing} missing" if row.missing else ""),
        "" if difference is None else f"{difference.mean:+.2f}{mark}",
        "" if difference is None else _interval(difference.t_interval),
        "" if difference is None else _interval(difference.bootstrap_interval),
        "" if math.isnan(row.adjusted) else f"{row.adjusted:.3f}",
        "" if difference is None or math.isnan(difference.detectable) else f"{difference.detectable:.2f}",
        "" if not in_paper else "diverges" if number is None else f"{number:g}",
    ]  # fmt: skip


def _interval(bounds: tuple[float, float]) -> str:
    return "" if math.isnan(bounds[0]) else f"{bounds[0]:+.2f} to {bounds[1]:+.2f}"


def _pictures(study: Study, trials: Sequence[Trial], found: Sequence[Table], folder: Path) -> list[tuple[str, str]]:
    """Captions and svg texts; each is also a file of its own, as svg and as pdf."""
    pictures = []
    for table in found:
        events = {row.norm: _events(trials, table.config, row.norm) for row in table.rows}
        metrics = [info for name in dict.fromkeys(("loss", table.metric)) if (info := metric_info(name))]
        name = Path(table.config).stem
        title = f"{table.dataset}: mean of seeds, band one standard deviation"
        pictures.append(
            (f"{table.dataset}: curves", _draw(curve_bands(events, metrics, title), folder, f"{name}_curves"))
        )
        quantities = {
            "gap of the loss at the end (nats)": _of(table, lambda r: r["gap"]["final"].get("loss")),
            "rise of valid loss past its best": _of(table, lambda r: r["gap"]["rise"].get("loss")),
            "re-centring, last measured": _of(table, lambda r: r["norm_gradients"].get("recentring")),
            "re-scaling, last measured": _of(table, lambda r: r["norm_gradients"].get("rescaling")),
        }
        shown = {quantity: values for quantity, values in quantities.items() if any(values.values())}
        if shown:
            figure = bars(shown, f"{table.dataset}: bar the mean, dots the seeds")
            pictures.append((f"{table.dataset}: gap and gradients by norm", _draw(figure, folder, f"{name}_norms")))
    return pictures


def _draw(figure: Figure, folder: Path, name: str) -> str:
    for suffix in ("pdf", "svg"):
        save(figure, folder / f"{name}.{suffix}")
    text = (folder / f"{name}.svg").read_text(encoding="utf-8")
    return text[text.index("<svg") :]


def _of(table: Table, value: Any) -> dict[str, list[float]]:
    return {
        row.norm: [found for result in row.results.values() if (found := value(result)) is not None]
        for row in table.rows
    }


def _events(trials: Sequence[Trial], config: str, norm: str) -> list[list[dict[str, Any]]]:
    """The validations of all runs of a norm."""
    series = []
    for trial in trials:
        folder = run_folder(trial)
        if (
            trial.config != config
            or trial.norm_label != norm
            or folder is None
            or not (folder / "metrics.jsonl").is_file()
        ):
            continue
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
        series.append([json.loads(line) for line in lines if '"val/' in line])
    return series


def _costs(table: Table) -> list[list[str]]:
    rows = []
    for row in table.rows:
        costs = [result["cost"] for result in row.results.values()]
        if costs:
            mean = {
                key: statistics.fmean(cost[key] for cost in costs)
                for key in ("elapsed_s", "tokens_per_s", "peak_rss_bytes")
            }
            rows.append(
                [
                    table.dataset, row.norm, f"{mean['elapsed_s'] / 60:.1f}", f"{mean['tokens_per_s']:,.0f}",
                    f"{mean['peak_rss_bytes'] / 2**30:.1f}", f"{costs[0]['parameters']:,}",
                ]
            )  # fmt: skip
    return rows


def _markdown(shown: dict[str, Any]) -> str:
    lines = [f"# Study {shown['study'].name}", "", f"{shown['progress']}. Baseline: {shown['baseline']}.", ""]
    lines += [f"- **{a.verdict}** on {a.dataset}, claim {a.claim}. {a.numbers}" for a in shown["answers"]]
    for table in shown["tables"]:
        lines += ["", f"## {table.dataset}: {table.metric} of the test", "", f"| norm | {' | '.join(_COLUMNS)} |"]
        lines += ["|---" * (len(_COLUMNS) + 1) + "|"]
        lines += ["| " + " | ".join(row_cells(table, row)) + " |" for row in table.rows]
        lines += ["", *(f"- {row.norm}: {row.words}" for row in table.rows if row.norm != shown["baseline"])]
    if shown["sentences"]:
        lines += ["", "sacrebleu's paired bootstrap across the sentences of the test:", ""]
        lines += [f"- {test.words}" for test in shown["sentences"]]
    return "\n".join(lines) + "\n"


def _csv(found: Sequence[Table]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["task", "dataset", "metric", "norm", *_COLUMNS])
    for table in found:
        writer.writerows([table.task, table.dataset, table.metric, *row_cells(table, row)] for row in table.rows)
    return file.getvalue()


def _tex(found: Sequence[Table]) -> str:
    lines = [r"\begin{tabular}{ll" + "r" * len(_COLUMNS) + "}", r"\hline"]
    lines += [" & ".join(map(_escaped, ["data", "norm", *_COLUMNS])) + r" \\", r"\hline"]
    for table in found:
        for row in table.rows:
            cells = [_escaped(cell) for cell in row_cells(table, row)]
            if row.norm == table.best:
                cells[1] = rf"\textbf{{{cells[1]}}}"
            lines.append(" & ".join([_escaped(table.dataset), *cells]) + r" \\")
    return "\n".join([*lines, r"\hline", r"\end{tabular}"]) + "\n"


def _escaped(text: str) -> str:
    for character in "%_&#":
        text = text.replace(character, f"\\{character}")
    return text


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")
