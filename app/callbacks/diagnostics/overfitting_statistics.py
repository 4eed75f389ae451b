"""Indicators of overfitting in the series of a run's validations: gap, area, rise, noise and onset."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from app.metrics import MetricInfo, metric_info
from app.runs.metrics_file import Event

_FEWEST = 5  # validations that noise is estimated from: three second differences, the median of which is robust
_DEVIATIONS = 4.0  # of noise that a rise must exceed
_IN_A_ROW = 2  # validations that must do so


def gaps(scores: dict[str, float]) -> dict[str, float]:
    """`gap/<metric>` for every declared metric that was scored on both the validation set and the train probe."""
    found = {}
    for key, validation in scores.items():
        split, _, name = key.partition("/")
        train, metric = scores.get(f"train_probe/{name}"), metric_info(name)
        if split == "val" and metric is not None and train is not None and validation is not None:
            found[f"gap/{name}"] = train - validation if metric.higher_is_better else validation - train
    return found


def noise(values: Sequence[float]) -> float | None:
    """Standard deviation of the noise on a series: of its second differences, to which no straight line contributes.

    A second difference of independent noise has six times its variance. Their deviation is 1.4826 times their median
    absolute value, so that a bend here and there, as at the minimum, does not count.

    Returns:
        In the unit of the values; None for fewer than five of them.
    """
    if len(values) < _FEWEST:
        return None
    second = [values[i - 1] - 2 * values[i] + values[i + 1] for i in range(1, len(values) - 1)]
    return 1.4826 * statistics.median(map(abs, second)) / math.sqrt(6)


def onset(events: Sequence[Event], metric: MetricInfo) -> dict[str, Any] | None:
    """When overfitting began, by one metric; None if it did not, or if there are too few validations to tell.

    It began at the first of the validations that, up to the last one and two of them at least, are all worse than the
    best one by more than four standard deviations of the series' noise, with a train loss below that at the best one.
    Four, because the best of many noisy values is itself about two below the others.

    Args:
        events: of a run in order; only validations that were scored on the train probe, too, count.
        metric: the loss, or any other that is scored on both splits.

    Returns:
        `epoch` and `step` of that validation; `best_epoch` and `best_value` of the best one; `value`; `noise`; train
        loss at the best one and now, as `train_loss_then` and `train_loss`.
    """
    series, key = _validations(events, metric), f"val/{metric.name}"
    sign = -1.0 if metric.higher_is_better else 1.0
    values = [sign * event[key] for event in series]
    deviation = noise(values)
    if deviation is None:
        return None
    best = min(range(len(values)), key=values.__getitem__)
    train_then = series[best]["train_probe/loss"]
    began = len(values)
    while (
        began - 1 > best
        and values[began - 1] - values[best] > _DEVIATIONS * deviation
        and series[began - 1]["train_probe/loss"] < train_then
    ):
        began -= 1
    if len(values) - began < _IN_A_ROW:
        return None
    return {
        "epoch": series[began]["epoch"],
        "step": series[began]["step"],
        "value": series[began][key],
        "best_epoch": series[best]["epoch"],
        "best_value": series[best][key],
        "noise": deviation,
        "train_loss_then": train_then,
        "train_loss": series[began]["train_probe/loss"],
    }


def overfitting_summary(
    events: Sequence[Event], metrics: Sequence[MetricInfo], best_step: int | None, steps_per_epoch: int
) -> dict[str, Any]:
    """What a run's validations say about overfitting.

    Args:
        events: events of a run in order; those without validation scores are skipped.
        metrics: those that `onset`, `rise`, `noise` and `area` are given for.
        best_step: step of the best checkpoint.
        steps_per_epoch: updates of an epoch, for the area.

    Returns:
        `best` and `final`: the gaps there, by metric. By metric, too: `area`, the gap's integral from the first
        validation to the last, in its unit times epochs; `rise`, by how much the last validation is worse than the
        best; `noise` and `onset`, see the functions of these names.
    """
    validations = [event for event in events if any(event.get(f"val/{m.name}") is not None for m in metrics)]
    by_step = {event["step"]: event for event in validations}
    return {
        "best": _by_metric(by_step.get(best_step, {})),
        "final": _by_metric(validations[-1]) if validations else {},
        "area": {m.name: _area(validations, m) / steps_per_epoch for m in metrics},
        "rise": {m.name: _rise(validations, m) for m in metrics},
        "noise": {m.name: noise([e[f"val/{m.name}"] for e in _validations(validations, m)]) for m in metrics},
        "onset": {m.name: onset(validations, m) for m in metrics},
    }


def _validations(events: Sequence[Event], metric: MetricInfo) -> list[Event]:
    return [e for e in events if e.get(f"val/{metric.name}") is not None and e.get("train_probe/loss") is not None]


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
