"""What a report says, in the words and cells of its page: everything but the pictures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from app.figures.dots import is_nothing
from app.runs.result import throughput
from app.study.analysis.quantities import Quantity, margin_of, score
from app.study.analysis.tables import Analysis, Comparison, Row, Table
from app.study.analysis.words import decimals, interval, number, p_value
from app.study.plan import Study
from app.study.published import published
from app.study.report.records import RunRecord
from app.study.tuning import TuningResult


@dataclass(frozen=True)
class Cells:
    """A table of the page.

    Attributes:
        columns: their names.
        numbers: the names of those that have numbers.
        rows: their cells.
        note: under it.
    """

    columns: tuple[str, ...]
    numbers: frozenset[str]
    rows: list[list[str]]
    note: str = ""


def score_table(study: Study, table: Table) -> Cells:
    """Test scores by variant, each with its comparison with the baseline."""
    difference = f"minus {study.baseline.label}"
    compared = (difference, "95 %", "95 %, whole family", "p, adjusted")
    columns = ("norm", "mean", "sd", "seeds", *compared, "verdict", "best", "paper")
    rows = [_score_row(study, table, row) for row in table.rows]
    seen = {tuple(sorted(row.scores)) for row in table.rows if row.scores}
    unit = " in per cent, differences in points" if table.metric.is_share else ""
    note = f"{_data(table)}: test {table.metric.label}{unit}. "
    note += "Numbers show two digits of their standard error. p and verdicts are adjusted for the whole family of "
    note += "comparisons; see Design."
    if len(seen) > 1:
        note += " Means are over each norm's own finished runs, which are not the same seeds; differences are paired."
    return Cells(columns, frozenset(("mean", "sd", *compared, "paper")), rows, note)


def _data(table: Table) -> str:
    return ", ".join(filter(None, (table.task, table.dataset, table.model)))


def _score_row(study: Study, table: Table, row: Row) -> list[str]:
    scores = list(row.scores.values())
    sd = statistics.stdev(scores) if len(scores) > 1 else math.nan
    se = sd / math.sqrt(len(scores)) if scores else math.nan
    seeds = f"{len(scores)}"
    if row.diverged:
        seeds += f", {len(row.diverged)} diverged"
    if row.collapsed:
        seeds += f", {len(row.collapsed)} collapsed"
    if row.missing:
        seeds += f", {len(row.missing)} missing"
    is_best = row.variant in table.best
    return [
        row.variant.label,
        number(row.mean, se) if row.mean is not None else "",
        number(sd, se),
        seeds,
        *(_compared(row.comparison) if row.comparison else ["", "", "", ""]),
        row.comparison.verdict if row.comparison else "baseline" if row.variant == study.baseline else "",
        "not told from the best" if is_best and len(table.best) > 1 else "best" if is_best else "",
        published(table.dataset, row.variant) if _has_whole_split(row) else "",
    ]


def _has_whole_split(row: Row) -> bool:
    """Whether its runs trained on all of a training split that is not one of folds, as published ones did."""
    settings = [result.get("training") or {} for result in row.results.values()]
    return all(one.get("data.train_fraction") in (None, 1.0) and not one.get("data.folds") for one in settings)


def values_of(table: Table, quantity: Quantity) -> dict[str, dict[str, float]]:
    """A quantity of each finished run of a condition, by variant and run."""
    return {
        row.variant.label: {
            f"{row.variant.label}, seed {seed}": value
            for seed, result in row.results.items()
            if (value := quantity.value(result)) is not None
        }
        for row in table.rows
    }


def _compared(found: Comparison) -> list[str]:
    """Difference, its interval, the interval that holds for the whole family, and the adjusted p value."""
    numbers = found.estimate
    if numbers is None:
        return ["", "", "", ""]
    survivors = " (survivors)" if found.diverged.any else ""
    return [
        number(numbers.mean, numbers.se, signed=True) + survivors,
        interval(numbers.low, numbers.high, numbers.se),
        interval(*numbers.simultaneous, numbers.se),
        p_value(numbers.adjusted).removeprefix("p ").removeprefix("= "),
    ]


def secondary_table(study: Study, table: Table, kind: str) -> Cells | None:
    """Quantities of a kind other than the test score, compared with the baseline; None where none was measured.

    What is 0 in all runs, but for rounding, is omitted.
    """
    difference = f"minus {study.baseline.label}"
    columns = ("quantity", "norm", "mean", difference, "95 %", "95 %, whole family", "p, adjusted", "verdict")
    rows = []
    for found in table.secondary:
        if found.quantity.kind != kind or found.estimate is None or is_nothing(values_of(table, found.quantity)):
            continue
        values = values_of(table, found.quantity).get(found.variant.label, {}).values()
        unit = f" ({found.quantity.unit})" if found.quantity.unit else ""
        mean = number(statistics.fmean(values), found.estimate.se) if values else ""
        rows.append([found.quantity.name + unit, found.variant.label, mean, *_compared(found), found.verdict])
    if not rows:
        return None
    return Cells(columns, frozenset(columns[2:7]), rows)


def verdicts_by_place(found: Analysis, tuned: TuningResult) -> tuple[list[str], Cells]:
    """The verdicts at the common values, at the baseline's best and at each variant's own best, side by side.

    Returns:
        A sentence for each variant whose verdict is not the same at all of them, and the table.
    """
    start = f"{tuned.condition.label}, "
    tables = found.places(tuned.condition)
    places = [table.condition.removeprefix(start) for table in tables]
    sentences, rows = [], []
    for variant in found.study.variants:
        compared = [one for table in tables if (one := table.row(variant).comparison) is not None]
        if len(compared) == len(tables) and compared:
            rows.append([variant.label, *map(short_verdict, compared)])
            if len({one.verdict for one in compared}) > 1 and not variant.control:
                listed = ", ".join(f"{one.verdict} ({place})" for one, place in zip(compared, places, strict=True))
                keys = ", ".join(tuned.keys)
                sentences.append(f"The verdict on {variant.label} is not the same at all values of {keys}: {listed}.")
    return sentences, Cells(
        ("norm", *places), frozenset(), rows, "Test scores, compared with the same place's baseline."
    )


def cost_table(tables: Sequence[Table]) -> Cells:
    """What the finished runs took, on average."""
    columns = ("condition", "norm", "minutes", "throughput", "memory (GiB)", "parameters")
    rows = []
    for table in tables:
        for row in table.rows:
            costs = [result["cost"] for result in row.results.values()]
            if costs:
                seconds, memory = (statistics.fmean(c[key] for c in costs) for key in ("elapsed_s", "peak_rss_bytes"))
                rates, units = zip(*map(throughput, costs), strict=True)
                speed, parameters = f"{statistics.fmean(rates):,.0f} {units[-1]}/s", f"{costs[0]['parameters']:,}"
                cells = [f"{seconds / 60:.1f}", speed, f"{memory / 2**30:.1f}", parameters]
                rows.append([table.condition, row.variant.label, *cells])
    return Cells(columns, frozenset(columns[2:]), rows)


def design_lines(found: Analysis, records: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """The design of the study: what a referee asks first."""
    study = found.study
    lines = [("data", "; ".join(dict.fromkeys(_data(table) for table in found.tables)))]
    if study.folds is not None:
        split = f"{study.folds} folds, of which each seed tests one in turn"
    elif "split" in study.vary:
        split = "another split with each seed"
    else:
        split = f"one split, the same for all runs{_value(records, ('seeds', 'split'), ' (split_seed {})')}"
    fraction = _value(records, ("training", "data.train_fraction"), "; train fraction {}", unless="1.0")
    lines.append(("split", split + fraction))
    metrics = list(dict.fromkeys(table.metric.label for table in found.tables))
    epochs = _value(records, ("training", "trainer.max_epochs"), "{} epochs")
    lines.append(("length", epochs or "see the commands of the runs"))
    lines.append(("selection", f"the checkpoint with the best validation {', '.join(metrics)} is tested"))
    rate = _value(records, ("training", "model.optimizer.lr"), "{}")
    if study.tuning is not None:
        keys, seeds = ", ".join(study.tuning.keys), _listed(study.tuning.seeds)
        tuned = f"{keys}: tuned on validation for each norm, with seeds {seeds}, none of which is reported"
    else:
        tuned = f"{rate or 'that of the config'}, not tuned for any norm"
    lines.append(("learning rate" if study.tuning is None else "tuned", tuned))
    looks = f"; looks after {_listed(study.looks)} seeds" if len(study.looks) > 1 else ""
    varied = ", ".join(study.vary)
    lines.append(("seeds", f"{_listed(study.seeds)}{looks}; from seed to seed, these differ: {varied}"))
    lines.append(("baseline", study.baseline.label))
    results = [record.result for record in records if record.result is not None]
    unknown = sum(not any((result.get("training") or {}).values()) for result in results)
    if unknown:
        text = f"{unknown} of {len(results)} runs, of an earlier version, do not record their settings"
        lines.append(("pairing", f"{text}; they are paired by data, batches and initial weights alone"))
    margins = dict.fromkeys(
        f"{margin:g} {quantity.unit} of {quantity.name}" if margin is not None else f"none for {quantity.name}"
        for table in found.tables
        for quantity in (score(table.metric),)
        for margin in (margin_of(quantity, study.margin),)
    )
    lines.append(("margin", "; ".join(margins)))
    estimands: dict[str, dict[str, None]] = {}
    for family in found.families:
        for one in family.comparisons:
            if one.estimate is not None:
                estimands.setdefault(one.estimate.estimand, {})[family.name] = None
    lines += [(f"differences in {', '.join(names)}", text) for text, names in estimands.items()]
    lines += [(f"family: {family.name}", family.method) for family in found.families]
    made = [
        words
        for words in (
            _value(records, ("versions", "app"), "app {}"),
            _value(records, ("versions", "torch"), "torch {}"),
            _value(records, ("training", "device"), "on {}"),
        )
        if words
    ]
    if made:
        lines.append(("made with", ", ".join(made)))
    return lines + [(norm.label, norm.in_words.replace("`", "")) for norm in study.norms if norm.label_is_short]


def _value(records: Sequence[RunRecord], key: tuple[str, str], words: str, unless: str | None = None) -> str:
    """What runs have recorded, all its values; "" where none has, or where it is as if it were not set."""
    group, name = key
    results = [record.result for record in records if record.result is not None and record.phase == "score"]
    values = dict.fromkeys(str((result.get(group) or {}).get(name)) for result in results)
    values = dict.fromkeys(value for value in values if value not in ("None", unless))
    return words.format(", ".join(values)) if values else ""


def _listed(numbers: Sequence[int]) -> str:
    """Numbers in a list, or from the first to the last where they are consecutive."""
    if len(numbers) > 2 and list(numbers) == list(range(numbers[0], numbers[0] + len(numbers))):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))


def tex_table(study: Study, tables: Sequence[Table]) -> str:
    """The test scores as a LaTeX table."""
    found = [(table, score_table(study, table)) for table in tables]
    columns = found[0][1].columns
    lines = [r"\begin{tabular}{ll" + "r" * (len(columns) - 1) + "}", r"\hline", _tex_row(["data", *columns]), r"\hline"]
    lines += [_tex_row([table.condition, *row]) for table, cells in found for row in cells.rows]
    return "\n".join([*lines, r"\hline", r"\end{tabular}"]) + "\n"


def _tex_row(cells: Sequence[str]) -> str:
    special = str.maketrans({character: f"\\{character}" for character in "%_&#$"})
    return " & ".join(cell.translate(special) for cell in cells) + r" \\"


def short_verdict(found: Comparison) -> str:
    """The verdict and its numbers next to a row of the forest plot."""
    numbers = found.estimate
    parts = []
    if found.diverged.any:
        verb = "diverged or collapsed" if found.diverged.collapsed else "diverged"
        parts.append(f"{found.diverged.ours} of {found.diverged.ours_of} {verb}")
        if found.diverged.theirs:
            parts.append(f"{found.diverged.theirs} of {found.diverged.theirs_of} of the other")
    word = f"equal within {found.margin:g}" if found.verdict == "equal" else found.verdict
    text = ", ".join([word, *parts])
    if numbers is None or math.isnan(numbers.mean):
        return text
    text += f": {number(numbers.mean, numbers.se, signed=True)}"
    if not math.isnan(numbers.low):
        places = decimals(numbers.se)
        text += f" ({numbers.low:+.{places}f} to {numbers.high:+.{places}f})"
    return text + (" over survivors" if found.diverged.any else "")
