"""The quantities that a study compares: the test score, and what runs say of overfitting and of gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from app.metrics import MetricInfo

Kind = Literal["score", "overfitting", "gradient", "stability"]
Reader = Callable[[dict[str, Any]], float | None]

# Differences of scores that make no difference in practice, in the unit of tables; a study's `margin` replaces them.
MARGINS = {"accuracy": 0.5, "macro_f1": 0.5, "uas": 0.3, "las": 0.3, "bleu": 0.3, "chrf": 0.3, "bpc": 0.01}


@dataclass(frozen=True)
class Quantity:
    """A number of a run that is compared over seeds.

    Args:
        name: such as accuracy, gap or train loss.
        unit: of the numbers, for axes and tables.
        higher_is_better: the direction of improvement; None where there is none.
        kind: comparisons of one kind are one family.
        read: the number of a run from its result.json; None where the run lacks it.
    """

    name: str
    unit: str
    higher_is_better: bool | None
    kind: Kind
    read: Reader

    def value(self, result: dict[str, Any]) -> float | None:
        """The number of a run; None where the run lacks it, or where it is not finite."""
        found = self.read(result)
        return found if found is not None and math.isfinite(found) else None


def score(metric: MetricInfo) -> Quantity:
    """The test score in a metric: in per cent where it is a share, whose differences are points."""
    factor = 100.0 if metric.is_share else 1.0

    def read(result: dict[str, Any]) -> float | None:
        found = (result["test"] or {}).get(metric.name)
        return None if found is None else factor * found

    return Quantity(metric.name, "points" if metric.is_share else metric.label, metric.higher_is_better, "score", read)


def _reader(*path: str) -> Reader:
    def read(result: dict[str, Any]) -> float | None:
        found: Any = result
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return found

    return read


def _loss(name: str, *path: str, unit: str = "nats") -> Quantity:
    return Quantity(name, unit, False, "overfitting", _reader(*path))


# compared with the baseline in every study
DECLARED = (
    _loss("gap", "gap", "final", "loss"),
    _loss("rise", "gap", "rise", "loss"),
    _loss("area", "gap", "area", "loss", unit="nats x epochs"),
    Quantity("recentring", "", None, "gradient", _reader("norm_gradients", "recentring")),
    Quantity("rescaling", "", None, "gradient", _reader("norm_gradients", "rescaling")),
)
# compared where a claim asks for them
_ON_REQUEST = (
    _loss("gap at best", "gap", "best", "loss"),
    _loss("train loss", "final", "train_probe", "loss"),
    _loss("valid loss", "final", "val", "loss"),
    _loss("train loss at best", "best", "train_probe", "loss"),
    _loss("valid loss at best", "best", "val", "loss"),
)
BY_NAME = {quantity.name: quantity for quantity in (*DECLARED, *_ON_REQUEST)}


def margin_of(quantity: Quantity, margins: Mapping[str, float]) -> float | None:
    """The margin within which two norms count as equal: the study's own, else the default; None where there is none.

    A variant of a metric, such as uas_without_punct, has the metric's.
    """
    known, name = {**(MARGINS if quantity.kind == "score" else {}), **margins}, quantity.name
    while name not in known and "_" in name:
        name = name.rpartition("_")[0]
    return known.get(name)
