"""The report of a study: report.html in one file, report.md, csv files, table.tex, and its figures as svg and pdf."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape

from app.errors import InputError
from app.figures import ForestRow, forest
from app.figures.drawing import style_of
from app.runs.atomic_write import atomic_write
from app.study.analysis.analyse import analyse
from app.study.analysis.evidence import Declared, pairs
from app.study.analysis.quantities import DECLARED, score
from app.study.analysis.tables import Analysis, Comparison, Table
from app.study.analysis.words import paragraph
from app.study.plan import Study, Trial
from app.study.plan.flags import folder_name
from app.study.report.comparisons_csv import write_comparisons
from app.study.report.page import (
    Cells,
    cost_table,
    design_lines,
    score_table,
    secondary_table,
    short_verdict,
    tex_table,
    values_of,
    verdicts_by_place,
)
from app.study.report.pictures import Gallery, Plot, curves_of, dots_of, gradients_of, tuning_of
from app.study.report.records import RunRecord, of_trials, write_records
from app.study.sentence_bootstrap import sentence_tests

_FOREST_NOTE = (
    "Each row is one comparison: a dot for each seed's paired difference, the thick line is the 95 % interval of their "
    "mean, the thin one holds for all comparisons of the family together, and the band is the margin within which two "
    "norms count as equal. Dotted and hollow: over the seeds that both survive, which decides nothing; a cross is "
    "a run that diverged, or collapsed to the score of the most frequent class."
)
Item = Plot | Cells | str


@dataclass(frozen=True)
class Group:
    """What a section of the page has on one condition.

    Attributes:
        heading: the condition; "" where there is only one.
        items: pictures, tables and sentences.
    """

    heading: str
    items: list[Item]


@dataclass(frozen=True)
class Page:
    """What report.html and report.md show.

    Attributes:
        title: of the page.
        preliminary: what is missing; "" for a study that is done.
        answer: the answering paragraph.
        claims: what the study says of each claim.
        controls: what it says of its controls; "" without any.
        design: terms and what they are in this study.
        legend: each variant with its colour.
        forests: the forest plots, one for each metric.
        forest_note: how they are to be read.
        sentences: for each condition, what its comparisons say.
        bootstrap: sacrebleu's paired bootstrap of each pair of models.
        runs: name, state and command of each run.
    """

    title: str
    preliminary: str
    answer: str
    claims: Sequence[Any]
    controls: str
    design: list[tuple[str, str]]
    legend: list[tuple[str, str]]
    forests: list[Plot]
    forest_note: str
    sentences: list[tuple[str, list[str]]]
    bootstrap: list[str]
    runs: list[tuple[str, str, str]]


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
    return write_analysis(analyse(study, trials), of_trials(study, trials), folder, twin_axes)


def write_analysis(found: Analysis, records: Sequence[RunRecord], folder: Path, twin_axes: bool = False) -> Path:
    """Write the report of an analysis.

    Args:
        found: the analysis.
        records: of all runs.
        folder: where the files go.
        twin_axes: draw validation on an axis of its own.

    Returns:
        The path of report.html.

    Raises:
        InputError: if no run has ended.
    """
    study = found.study
    if not found.tables:
        raise InputError(f"study {study.name}: no run has ended yet; start them with python -m app.study run")
    folder.mkdir(parents=True, exist_ok=True)
    write_records(study.name, records, folder)
    write_comparisons(found.families, folder)
    gallery = Gallery(folder)
    labels = [variant.label for variant in study.variants]
    page = Page(
        title=f"Study {study.name}",
        preliminary=_unfinished(found),
        answer=paragraph(found),
        claims=found.answers,
        controls=f"{found.controls.words}." if found.controls else "",
        design=design_lines(found, records),
        legend=[(label, style_of(number)[0]) for number, label in enumerate(labels)],
        forests=_forests(gallery, found),
        forest_note=_FOREST_NOTE,
        sentences=[(table.condition, _sentences(found, table)) for table in found.tables],
        bootstrap=[test.words for table in found.tables for test in sentence_tests(table, study.baseline)],
        runs=[(record.title, record.state, record.command) for record in records],
    )
    several = len(found.tables) > 1

    def each(items_of: Callable[[Table], list[Item]]) -> list[Group]:
        groups = [Group(table.condition if several else "", items_of(table)) for table in found.tables]
        return [group for group in groups if group.items]

    tuning, depends = [], []
    for one in found.tuning or ():
        sentences, verdicts = verdicts_by_place(found, one)
        depends += sentences
        items = tuning_of(gallery, f"{_file_name(one.condition.label)}_tuning", one, labels)
        tuning.append(Group(one.condition.label, [*([verdicts] if verdicts.rows else []), *items]))
    sections: list[tuple[str, Any]] = [
        ("Answer", [*depends, page.answer]),
        ("Claims", page.claims),
        ("Design", page.design),
        ("Comparisons", page.forests),
        ("Test scores", each(lambda table: [score_table(study, table)])),
        ("Tuning", tuning),
        ("Overfitting", each(lambda table: _overfitting(gallery, found, table, records, twin_axes))),
        ("Gradients", each(lambda table: _gradients(gallery, found, table, records))),
        ("Cost", [Group("", [cost_table(found.tables)])]),
        ("Runs", page.runs),
    ]
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(["html.j2"]),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    shown = {"page": page, "sections": sections}
    texts = {name: templates.get_template(f"{name}.j2").render(shown) for name in ("report.html", "report.md")}
    texts["table.tex"] = tex_table(study, found.tables)
    for name, text in texts.items():
        with atomic_write(folder / name) as part:
            part.write_text(text, encoding="utf-8")
    return folder / "report.html"


def _unfinished(found: Analysis) -> str:
    runs = f"{found.done} of {found.total} runs"
    if found.preliminary:
        return f"Preliminary: {runs}."
    return f"A look before the end, after {runs}: what is undecided goes on." if found.done < found.total else ""


def _file_name(condition: str) -> str:
    return folder_name(re.sub(r"[^\w.=-]+", "_", condition))


def _forests(gallery: Gallery, found: Analysis) -> list[Plot]:
    """A forest plot for each metric, whose comparisons share an axis."""
    plots = []
    for name, tables in _by_metric(found.tables).items():
        quantity = score(tables[0].metric)
        conditions = {table.condition: table for table in tables}
        comparisons = [
            one
            for family in found.families
            for one in family.comparisons
            if one.quantity.kind == "score" and one.condition in conditions
        ]
        if comparisons:
            order = list(conditions)
            comparisons.sort(key=lambda one: order.index(one.condition))
            others = {one.other.label for one in comparisons}
            rows = [
                _forest_row(
                    found,
                    conditions[one.condition],
                    one,
                    one.variant.label if len(others) == 1 else f"{one.variant.label} minus {one.other.label}",
                )
                for one in comparisons
            ]
            margin, better = comparisons[0].margin, bool(quantity.higher_is_better)
            label = f"test {name} ({quantity.unit})" + (f", minus {others.pop()}" if len(others) == 1 else "")
            plots.append(
                gallery.add(
                    f"forest_{name}", f"Differences of test {name}", partial(forest, rows, label, better, margin)
                )
            )
    return plots


def _by_metric(tables: Sequence[Table]) -> dict[str, list[Table]]:
    found: dict[str, list[Table]] = {}
    for table in tables:
        found.setdefault(table.metric.name, []).append(table)
    return found


def _forest_row(found: Analysis, table: Table, one: Comparison, label: str) -> ForestRow:
    numbers = one.estimate
    declared = Declared(table, one.quantity, one.variant, one.other)
    paired = pairs(declared, found.study.seeds[: one.look])  # those that its numbers are of
    failed = {
        f"{row.variant.label}, seed {seed}": "diverged" if seed in row.diverged else "collapsed"
        for row, _ in declared.terms
        for seed in sorted(row.failed)
    }
    known = numbers is not None and not math.isnan(numbers.low)
    variants = list(found.study.variants)
    return ForestRow(
        group=table.condition,
        series=(one.variant.label, variants.index(one.variant) if one.variant in variants else len(variants)),
        label=label,
        verdict=short_verdict(one),
        mean=numbers.mean if numbers else None,
        interval=(numbers.low, numbers.high) if numbers and known else None,
        simultaneous=numbers.simultaneous if numbers and known else None,
        dots={
            f"{one.variant.label}, seed {seed}": float(value)
            for seed, value in zip(paired.seeds, paired.differences, strict=True)
        },
        failed=failed,
        decides=not failed,
    )


def _sentences(found: Analysis, table: Table) -> list[str]:
    return [
        f"{one.words}."
        for family in found.families
        for one in family.comparisons
        if one.condition == table.condition and one.quantity.kind == "score"
    ]


def _overfitting(
    gallery: Gallery, found: Analysis, table: Table, records: Sequence[RunRecord], twin_axes: bool
) -> list[Item]:
    labels = [variant.label for variant in found.study.variants]
    own, name = _scored(records, table), _file_name(table.condition)
    items: list[Item] = [curves_of(gallery, f"{name}_curves", own, labels, table.metric, twin_axes)]
    items += dots_of(gallery, f"{name}_overfitting", _quantities(table, "overfitting"))
    cells = secondary_table(found.study, table, "overfitting")
    return [*items, cells] if cells else items


def _gradients(gallery: Gallery, found: Analysis, table: Table, records: Sequence[RunRecord]) -> list[Item]:
    labels = [variant.label for variant in found.study.variants]
    items: list[Item] = []
    items += gradients_of(gallery, f"{_file_name(table.condition)}_gradients", _scored(records, table), labels)
    cells = secondary_table(found.study, table, "gradient")
    return [*items, cells] if cells else items


def _scored(records: Sequence[RunRecord], table: Table) -> list[RunRecord]:
    return [record for record in records if record.condition == table.condition and record.phase == "score"]


def _quantities(table: Table, kind: str) -> dict[str, dict[str, dict[str, float]]]:
    """The values of each quantity of a kind, by norm and run."""
    return {
        f"{quantity.name} ({quantity.unit})": values_of(table, quantity)
        for quantity in DECLARED
        if quantity.kind == kind
    }
