"""Which values of the tuned settings a study tries, and which it chooses for each variant, on validation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from statistics import fmean
from typing import Any

from app.metrics import MetricInfo
from app.study.plan import Condition, Settings, Study, Trial, Tuning
from app.study.trials import result_of, state_of

_DIGITS = 3  # of a value that extends an axis


@dataclass(frozen=True)
class Choice:
    """What is known of the tuning in one condition.

    Attributes:
        trials: all that are needed so far; every variant has the same number.
        is_complete: whether all of them have ended, and no axis has to be extended.
        best: the chosen values by label of the variant, once it is complete; None for a variant of which no value was
            tried by all its runs without a divergence.
    """

    trials: list[Trial]
    is_complete: bool
    best: dict[str, Settings | None]


def choose(study: Study, tuning: Tuning, condition: Condition, root: Path) -> Choice:
    """Try the values, and extend an axis by a step while some variant's best is at its end; all variants alike.

    The best has the best mean over the tuning seeds of the primary metric on the validation split, at the epoch that
    the run itself would keep; a value at which a run diverged or failed is never the best, and of equal ones the first
    listed is. Controls are not tuned.

    Args:
        study: the study.
        tuning: what it tunes.
        condition: one of its conditions.
        root: the folder of all studies.
    """
    steps = {number: (0, 0) for number in range(len(tuning.axes))}  # by axis: before its first and after its last point
    variants = [variant for variant in study.variants if variant.control is None]
    while True:
        axes = [extended(axis, *steps[number]) for number, axis in enumerate(tuning.axes)]
        points = [{key: value for one in chosen for key, value in one.items()} for chosen in product(*axes)]
        trials = [
            study.trial(root, condition, variant, seed, "tune", point)
            for seed in tuning.seeds
            for point in points
            for variant in variants
        ]
        if not all(has_ended(trial, study.retries) for trial in trials):
            return Choice(trials, False, {})
        best = {variant.label: best_of([t for t in trials if t.variant == variant]) for variant in variants}
        more = {number: _grown(axes[number], steps[number], best.values(), tuning.grow) for number in steps}
        if more == steps:
            return Choice(trials, True, best)
        steps = more


def has_ended(trial: Trial, retries: int) -> bool:
    """Whether a trial has finished or diverged, or failed for good."""
    return result_of(trial) is not None or state_of(trial, retries) == "failed"


def best_of(trials: Sequence[Trial]) -> Settings | None:
    """The values of the trials that have the best mean validation score; None where no value has one."""
    by_point: dict[tuple[Any, ...], list[Trial]] = {}
    for trial in trials:
        by_point.setdefault(tuple(trial.tuned.items()), []).append(trial)
    means = {point: fmean(map(goodness, own)) for point, own in by_point.items()}
    found = max(means, key=means.__getitem__, default=None)
    return None if found is None or means[found] == -math.inf else dict(found)


def goodness(trial: Trial) -> float:
    """The best validation score of a run, the higher the better; minus infinity where it diverged or failed."""
    result = result_of(trial)
    if result is None or result["status"] == "diverged" or result["best"] is None:
        return -math.inf
    score, metric = valid_score(result)
    return score if metric.higher_is_better else -score


def valid_score(result: dict[str, Any]) -> tuple[float, MetricInfo]:
    """The primary metric on validation at the best epoch of a finished run, in the unit of tables."""
    metric = MetricInfo.from_dict(result["primary_metric"])
    return (100 if metric.is_share else 1) * float(result["best"]["val"][metric.name]), metric


def extended(axis: Sequence[Settings], before: int, after: int) -> list[Settings]:
    """An axis with further points at its ends, at the distance, as a factor, of the last two there."""
    points = list(axis)
    for _ in range(before):
        points.insert(0, _next(points[1], points[0]))
    for _ in range(after):
        points.append(_next(points[-2], points[-1]))
    return points


def can_grow(axis: Sequence[Settings]) -> bool:
    """Whether the values of all its keys are numbers above 0 that only rise or only fall."""
    columns = [[point[key] for point in axis] for key in axis[0]]
    return all(
        all(type(value) in (int, float) and value > 0 for value in column)
        and (all(a < b for a, b in pairwise(column)) or all(a > b for a, b in pairwise(column)))
        for column in columns
    )


def _grown(
    axis: Sequence[Settings], steps: tuple[int, int], best: Sequence[Settings | None], limit: int
) -> tuple[int, int]:
    """The steps of an axis, one more at an end where the best of a variant is."""
    if not can_grow(axis):
        return steps
    at = [{key: chosen[key] for key in axis[0]} for chosen in best if chosen is not None]
    before, after = steps
    return (
        before + (before < limit and axis[0] in at and _next(axis[1], axis[0]) not in axis),
        after + (after < limit and axis[-1] in at and _next(axis[-2], axis[-1]) not in axis),
    )


def _next(before_last: Settings, last: Settings) -> Settings:
    """The point after two points; whole numbers stay whole."""
    point: dict[str, Any] = {}
    for key, value in last.items():
        further = float(f"{value * value / before_last[key]:.{_DIGITS}g}")
        point[key] = max(1, round(further)) if isinstance(value, int) else further
    return point
