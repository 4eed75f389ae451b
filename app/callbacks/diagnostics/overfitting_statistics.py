"""Indicators of overfitting in the series of a run's validations: gap, area, rise and onset."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from app.metrics import MetricInfo, metric_info
from app.runs.metrics_file import Event

_FALSE_ALARMS = 0.05  # of runs that do not overfit
_IN_A_ROW = 2  # validations that must have a rise


def gaps(scores: dict[str, float]) -> dict[str, float]:
    """`gap/<metric>` for every declared metric that was scored on both the validation set and the train probe."""
    found = {}
    for key, validation in scores.items():
        split, _, name = key.partition("/")
        train, metric = scores.get(f"train_probe/{name}"), metric_info(name)
        if split == "val" and metric is not None and train is not None and validation is not None:
            found[f"gap/{name}"] = train - validation if metric.higher_is_better else validation - train
    return found


def rise_since(best: np.ndarray, now: np.ndarray, units: np.ndarray) -> dict[str, float]:
    """By how much the validation loss is above its minimum, judged by the same examples at both validations.

    The loss is a ratio of sums, and so its standard error is the linearised one of a ratio (Cochran, Sampling
    Techniques, 1977, section 2.11); examples are taken as independent. What an example always costs cancels, and noise
    of any correlation over time is allowed for, because the differences have it too.

    Args:
        best: (N,) float64, the nats of each example where the loss was lowest.
        now: (N,) float64, its nats now.
        units: (N,) int64, its loss units.

    Returns:
        `rise/loss`, in nats per unit; `rise/loss_se`, its standard error; `rise/loss_p`, the chance of so large a rise
        if the loss of all possible examples is the same: one-sided, by Student's t with N - 1 degrees of freedom.
        Empty for fewer than two examples.
    """
    from scipy.special import stdtr

    count, total = len(units), units.sum()
    if count < 2:
        return {}
    change = now - best
    rise = change.sum() / total
    se = math.sqrt(count / (count - 1) * np.square(change - rise * units).sum()) / total
    p = stdtr(count - 1, -rise / se) if se else float(rise <= 0)  # a rise without any noise is one
    return {"rise/loss": float(rise), "rise/loss_se": float(se), "rise/loss_p": float(p)}


def onset(events: Sequence[Event]) -> dict[str, Any] | None:
    """When overfitting began; None if it did not, or without the standard errors of `rise_since`.

    It began at the first of the validations that, up to the last one and two of them at least, all have a loss above
    the minimum by more than its noise and by more than it ever was above and came back from, with a train loss below
    that at the minimum. Validation k has k - 1 earlier ones that may be the minimum, and is one of many at which this
    is asked, so its p value is compared with 0.05 / (k (k - 1)^2): over all k these add up to 0.05, which thus bounds
    the chance of a false alarm in a run of any length, by noise that is independent between examples.

    Args:
        events: of a run in order; those without validation scores are skipped.

    Returns:
        `epoch` and `step` of that validation, `value` and `standard_error` of its distance from the minimum;
        `best_epoch`, `best_step` and `best_value` of the minimum; train loss there and at the onset, as
        `train_loss_then` and `train_loss`.
    """
    series = [event for event in events if event.get("val/loss") is not None]
    best = min(range(len(series)), key=lambda number: series[number]["val/loss"], default=0)
    recovered = max((event.get("rise/loss") or 0.0 for event in series[:best]), default=0.0)
    began = len(series)
    while began - 1 > best and _is_above(series[began - 1], began, series[best], recovered):
        began -= 1
    if len(series) - began < _IN_A_ROW:
        return None
    then, now = series[best], series[began]
    return {
        "epoch": now["epoch"],
        "step": now["step"],
        "value": now["val/loss"],
        "standard_error": now["rise/loss_se"],
        "best_epoch": then["epoch"],
        "best_step": then["step"],
        "best_value": then["val/loss"],
        "train_loss_then": then["train_probe/loss"],
        "train_loss": now["train_probe/loss"],
    }


def _is_above(event: Event, number: int, best: Event, recovered: float) -> bool:
    """Whether validation `number`, from 1, shows overfitting."""
    p, train, train_then = event.get("rise/loss_p"), event.get("train_probe/loss"), best.get("train_probe/loss")
    if p is None or train is None or train_then is None:
        return False
    is_beyond_noise = p < _FALSE_ALARMS / (number * (number - 1) ** 2) and event["rise/loss"] > recovered
    return is_beyond_noise and train < train_then


def overfitting_summary(
    events: Sequence[Event], metrics: Sequence[MetricInfo], best_step: int | None, steps_per_epoch: int
) -> dict[str, Any]:
    """What a run's validations say about overfitting.

    Args:
        events: events of a run in order; those without validation scores are skipped.
        metrics: those that `rise` and `area` are given for.
        best_step: step of the best checkpoint.
        steps_per_epoch: updates of an epoch, for the area.

    Returns:
        `best` and `final`: the gaps there, by metric. By metric, too: `area`, the gap's integral from the first
        validation to the last, in its unit times epochs; `rise`, by how much the last validation is worse than the
        best. Of the loss alone: `rise_se`, the standard error of its rise over the validation examples, and `onset`.
    """
    validations = [event for event in events if any(event.get(f"val/{m.name}") is not None for m in metrics)]
    by_step = {event["step"]: event for event in validations}
    return {
        "best": _by_metric(by_step.get(best_step, {})),
        "final": _by_metric(validations[-1]) if validations else {},
        "area": {m.name: _area(validations, m) / steps_per_epoch for m in metrics},
        "rise": {m.name: _rise(validations, m) for m in metrics},
        "rise_se": {"loss": validations[-1].get("rise/loss_se") if validations else None},
        "onset": {"loss": onset(validations)},
    }


def _rise(events: Sequence[Event], metric: MetricInfo) -> float:
    values = [value for event in events if (value := event.get(f"val/{metric.name}")) is not None]
    if not values:
        return 0.0
    return max(values) - values[-1] if metric.higher_is_better else values[-1] - min(values)


def _area(events: Sequence[Event], metric: MetricInfo) -> float:
    """By trapezoids over the steps."""
    points = [(e["step"], value) for e in events if (value := e.get(f"gap/{metric.name}")) is not None]
    return sum((b - a) * (left + right) / 2 for (a, left), (b, right) in zip(points, points[1:], strict=False))


def _by_metric(event: Event) -> dict[str, float]:
    return {key.removeprefix("gap/"): value for key, value in event.items() if key.startswith("gap/")}
