"""TuningResult: what the tuning runs of a condition say, for the report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from app.metrics import MetricInfo
from app.study.plan import Condition, Settings, Study, Trial, Variant
from app.study.plan.flags import in_brief
from app.study.trials import result_of
from app.study.tuning import curves
from app.study.tuning.choice import best_of, can_grow, goodness, valid_score

_AROUND = 2  # points on each side of the best one that the quadratic goes through


@dataclass(frozen=True)
class Point:
    """Values of the tuned settings that a variant has tried.

    Attributes:
        at: the values.
        scores: by tuning seed, the best validation score in the unit of tables; nan where the run diverged.
    """

    at: Settings
    scores: dict[int, float]

    @property
    def mean(self) -> float:
        """Mean over the seeds; nan where one diverged."""
        return fmean(self.scores.values())

    @property
    def diverged(self) -> int:
        """Number of runs that diverged."""
        return sum(map(math.isnan, self.scores.values()))


@dataclass(frozen=True)
class Tuned:
    """What the tuning runs of one variant say.

    Attributes:
        variant: the variant.
        points: what it has tried, in the order of the axis.
        best: the chosen values; None where there are none.
        on_edge: whether the best is the first or last point of an axis, so that a better one may be outside.
        optimum: of the fitted quadratic, where one numeric setting is tuned; None where it has none in the range.
        sensitivity: mean distance from the best over the range, in the unit of tables; None without a score.
        curve: the best of n tries.
        runs: number of runs that have ended.
        seconds: their time.
    """

    variant: Variant
    points: tuple[Point, ...]
    best: Settings | None
    on_edge: bool
    optimum: curves.Optimum | None
    sensitivity: float | None
    curve: tuple[curves.BestOf, ...]
    runs: int
    seconds: float


@dataclass(frozen=True)
class TuningResult:
    """What the tuning runs of a condition say, variant by variant.

    Attributes:
        condition: the condition, without tuned values.
        keys: the tuned settings.
        metric: whose validation score chooses.
        seeds: of the tuning runs.
        common: the values that the config itself has.
        tuned: by variant, in the order of the study.
    """

    condition: Condition
    keys: tuple[str, ...]
    metric: MetricInfo
    seeds: tuple[int, ...]
    common: Settings
    tuned: tuple[Tuned, ...]

    @property
    def words(self) -> list[str]:
        """A sentence for each variant, and one on which of them is expected to be best with how many tries."""
        leads = ", ".join(f"{variant.label} leads from n = {n}" for n, variant in self.leads)
        has_lead = len(self.tuned) > 1 and leads
        return [*map(self._sentence, self.tuned), *([f"expected best of n tries: {leads}"] if has_lead else [])]

    @property
    def leads(self) -> list[tuple[int, Variant]]:
        """Which variant has the best expected best of n tries, by the n from which it has; all have the same budget."""
        curves = {one.variant: [best.expected for best in one.curve] for one in self.tuned if one.curve}
        choose = max if self.metric.higher_is_better else min
        found: list[tuple[int, Variant]] = []
        for n in range(min(map(len, curves.values()), default=0)):
            lead = choose(curves, key=lambda variant: curves[variant][n])
            if not found or found[-1][1] != lead:
                found.append((n + 1, lead))
        return found

    def _sentence(self, one: Tuned) -> str:
        budget = f"{one.runs} runs, {one.seconds / 60:.1f} minutes"
        if diverged := sum(point.diverged for point in one.points):
            budget += f", {diverged} diverged"
        if one.best is None:
            return f"{one.variant.label}: no value without a divergence ({budget})"
        text = f"{one.variant.label}: best at {', '.join(in_brief(one.best))}"
        if one.on_edge:
            text += ", the end of the range, so a better value may be outside"
        if one.optimum is not None:
            low, high = one.optimum.low, one.optimum.high
            within = f"95 % interval {low:.2g} to {high:.2g}" if math.isfinite(high) else "its interval is open"
            text += f"; a quadratic has its optimum at {one.optimum.value:.2g} ({within})"
        if one.sensitivity is not None:
            text += f"; on average over the range {one.sensitivity:.2g} worse than the best"
        return f"{text} ({budget})"


def tuning_results(study: Study, trials: Sequence[Trial]) -> list[TuningResult]:
    """A result for each condition with a tuning run that has ended.

    Args:
        study: the study.
        trials: its trials; those of tuning are used.
    """
    if study.tuning is None:
        return []
    found = []
    for condition in study.conditions:
        own = [trial for trial in trials if trial.phase == "tune" and trial.condition == condition]
        ended = [(trial, result) for trial in own if (result := result_of(trial)) is not None]
        if ended:
            variants = dict.fromkeys(trial.variant for trial, _ in ended)
            metric = MetricInfo.from_dict(ended[0][1]["primary_metric"])
            tuned = tuple(_tuned([pair for pair in ended if pair[0].variant == one], one, metric) for one in variants)
            seeds, common = study.tuning.seeds, study.common(condition)
            found.append(TuningResult(condition, study.tuning.keys, metric, seeds, common, tuned))
    return found


def _tuned(ended: Sequence[tuple[Trial, dict[str, Any]]], variant: Variant, metric: MetricInfo) -> Tuned:
    trials = [trial for trial, _ in ended]
    keys = tuple(trials[0].tuned)
    by_point: dict[tuple[Any, ...], dict[int, float]] = {}
    for trial, result in ended:
        scores = by_point.setdefault(tuple(trial.tuned.values()), {})
        scores[trial.seed] = math.nan if result["status"] == "diverged" else valid_score(result)[0]
    points = tuple(Point(dict(zip(keys, values, strict=True)), scores) for values, scores in by_point.items())
    best = best_of(trials)
    sign = 1 if metric.higher_is_better else -1
    means = [-math.inf if math.isnan(point.mean) else sign * point.mean for point in points]
    columns = {key: list(dict.fromkeys(point.at[key] for point in points)) for key in keys}
    ends = {key: (column[0], column[-1]) for key, column in columns.items() if len(column) > 1}
    curve = curves.best_of([goodness(trial) for trial in trials])
    return Tuned(
        variant=variant,
        points=points,
        best=best,
        on_edge=best is not None and any(best[key] in ends.get(key, ()) for key in keys if _is_number(best[key])),
        optimum=_optimum(points, keys, best, sign),
        sensitivity=curves.sensitivity(means),
        curve=curve if sign > 0 else tuple(_mirrored(one) for one in curve),
        runs=len(ended),
        seconds=sum(result["cost"]["elapsed_s"] for _, result in ended),
    )


def _optimum(points: Sequence[Point], keys: Sequence[str], best: Settings | None, sign: int) -> curves.Optimum | None:
    """Of the points next to the best one: far from it a quadratic does not hold."""
    known = [point for point in points if not math.isnan(point.mean)]
    if best is None or len(keys) != 1 or not can_grow([point.at for point in points]):
        return None
    (middle,) = [number for number, point in enumerate(known) if point.at == best]
    near = known[max(0, middle - _AROUND) : middle + _AROUND + 1]
    runs = [(point.at[keys[0]], sign * score, seed) for point in near for seed, score in point.scores.items()]
    return curves.optimum(*zip(*runs, strict=True))


def _mirrored(one: curves.BestOf) -> curves.BestOf:
    """The curve of a metric that is better when lower."""
    return curves.BestOf(one.n, -one.expected, -one.high, -one.low)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)
