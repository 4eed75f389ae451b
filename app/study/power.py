"""What a study will be able to show, and what it will cost: before it is run, from pilots or stated deviations."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from app.errors import InputError
from app.metrics import metric_info
from app.study.analysis.analyse import analyse
from app.study.analysis.looks import Looks
from app.study.analysis.quantities import margin_of, score
from app.study.analysis.tables import Table
from app.study.analysis.words import number, seeds_in_words
from app.study.plan import Study, Trial
from app.study.statistics.blocks import shrunken
from app.study.statistics.estimate import ALPHA, POWER
from app.study.statistics.multiplicity import Block, Joint
from app.study.statistics.power import detectable, seeds_needed
from app.study.status_display import estimate
from app.study.trials import result_of

_PLACES = 3  # of tuned values at which a study that tunes compares


@dataclass(frozen=True)
class _Spread:
    """How paired differences in a score vary.

    Args:
        where: condition and metric, in words.
        seeds: variance between seeds.
        examples: variance of the mean that stays however many seeds there are.
        df: degrees of freedom of `seeds`; infinite for one that the user stated.
        margin: of the metric; None where it has none.
        source: where the numbers are from.
    """

    where: str
    seeds: float
    examples: float
    df: float
    margin: float | None
    source: str


def power_lines(study: Study, trials: Sequence[Trial], stated: Mapping[str, float]) -> list[str]:
    """What the study can show in each metric once all its seeds are done, and what that costs.

    Args:
        study: the study.
        trials: all its trials; finished ones are pilots.
        stated: standard deviations of paired differences by metric, in the unit of tables, which replace the pilots'.

    Raises:
        InputError: for a metric that is not known, and where there is neither a pilot nor a stated deviation.
    """
    found = analyse(study, trials)
    spreads = [_stated(name, sd, study) for name, sd in stated.items()]
    spreads += [one for table in found.tables if table.metric.name not in stated and (one := _pilot(table, study))]
    if not spreads:
        raise InputError(
            f"study {study.name}: no two norms have finished two seeds in common, so how much differences vary is not "
            "known; run some seeds first, or state it: --sd accuracy=0.6"
        )
    n, others = len(study.seeds), len(study.variants) - len(study.controls) - 1
    if n < 2 or not others:
        raise InputError(f"study {study.name} has {n} seeds and {others + 1} norms; list at least three and two")
    pairs = len({*study.comparisons, *((control, study.baseline) for control in study.controls)})
    conditions = len(study.conditions) * (1 if study.tuning is None else _PLACES)
    declared = next((len(family.comparisons) for family in found.families if family.name == "scores"), 0)
    size = max(declared, conditions * pairs)
    of_plan = shrunken(1.0, n - 1, 1.0, (n - 1) * others)
    block = Block(np.full((pairs, pairs), 0.5) + 0.5 * np.eye(pairs), np.full(pairs, of_plan.df), of_plan.shared)
    looks = Looks.at(study, len(study.looks))  # the last of them
    joint = Joint([block] * conditions, size - conditions * pairs)
    level = looks.level / size if len(study.looks) > 1 else joint.level(ALPHA)
    lines = [
        f"{n} seeds, {size} comparison{'s' * (size > 1)} of scores, each tested at a level of {level:.2g}; power 80 %"
    ]
    for one in spreads:
        lines += _shows(one, n, of_plan.df, level, size)
    done = estimate(study, trials)
    is_known = "minutes" in done or all(result_of(trial) for trial in trials)
    return [*lines, f"cost: {done}" if is_known else f"cost: {done}; how long one takes is not known yet"]


def _stated(name: str, sd: float, study: Study) -> _Spread:
    metric = metric_info(name)
    if metric is None:
        raise InputError(f"--sd {name}={sd:g}: no metric has this name; use one such as accuracy, bleu, bpc or uas")
    return _Spread(name, sd**2, 0.0, math.inf, margin_of(score(metric), study.margin), "as stated")


def _pilot(table: Table, study: Study) -> _Spread | None:
    compared = [row.comparison for row in table.rows if row.comparison and not row.variant.control]
    known = [one.estimate for one in compared if one.estimate and one.estimate.se > 0]
    if not known:
        return None
    return _Spread(
        f"{table.metric.name} on {table.condition}",
        statistics.fmean(one.sources["seeds"] * one.n for one in known),
        statistics.fmean(one.sources.get("examples", 0.0) for one in known),
        max(one.df for one in known),
        margin_of(score(table.metric), study.margin),
        f"from {max(one.n for one in known)} seeds that have finished",
    )


def _shows(one: _Spread, n: int, df: float, level: float, size: int) -> list[str]:
    se = math.sqrt(one.seeds / n + one.examples)
    difference = detectable(se, df, level, one.df)
    margin = se * float(stats.t.isf(ALPHA / size, df) + stats.t.isf((1 - POWER) / 2, df))
    half = se * float(stats.t.isf(ALPHA / 2, df))
    likely = "" if math.isinf(one.df) else f" ({number(difference.low, se)} to {number(difference.high, se)})"
    lines = [
        f"{one.where}: paired differences vary by {math.sqrt(one.seeds):.2g} between seeds, {one.source}",
        f"  shows a difference of {number(difference.value, se)}{likely}, or that two norms are equal within "
        f"{number(margin, se)}; a 95 % interval is the mean +- {number(half, se)}",
    ]
    if one.margin is not None:
        needed = seeds_needed(one.margin, one.seeds, one.examples, df / (n - 1), one.df, level)
        lines.append(f"  to show a difference as large as the margin, {one.margin:g}, needs {seeds_in_words(needed)}")
    return lines
