"""P values adjusted for the number of comparisons in their family."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

_DRAWS, _HALVINGS = 20_000, 30


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted for their number (Holm, 1979): the chance of any false alarm in a family stays below 5 %.

    Values that are nan stay nan, and count: a comparison that was declared and cannot be tested was declared.
    """
    adjusted = [math.nan] * len(p_values)
    known = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p))
        adjusted[place] = largest
    return adjusted


@dataclass(frozen=True)
class Block:
    """Comparisons with correlated t statistics, such as those of one table, which share a baseline.

    Args:
        correlation: of the means under comparison, (comparisons, comparisons).
        df: degrees of freedom of each comparison's standard error.
        shared: how many of them all comparisons have in common.
    """

    correlation: np.ndarray
    df: np.ndarray
    shared: float

    def draw(self, rng: np.random.Generator, draws: int) -> np.ndarray:
        """Absolute t statistics of studies without any difference, (draws, comparisons)."""
        values, vectors = np.linalg.eigh(self.correlation)
        means = rng.standard_normal((draws, len(values))) @ (vectors * np.sqrt(np.maximum(values, 0))).T
        own = self.df - self.shared
        squares = np.where(own > 0, rng.chisquare(np.maximum(own, 1e-9), (draws, len(values))), 0.0)
        if self.shared > 0:
            squares += rng.chisquare(self.shared, (draws, 1))
        return np.asarray(np.abs(means) / np.sqrt(squares / self.df))


class Joint:
    """A family of comparisons, and how small p values get in it where there is no difference at all.

    The joint distribution is simulated with a fixed seed: the t statistics of a block are correlated as their means
    are, and share what they share of their variance estimate (Dunnett, 1955); blocks are taken as independent.

    Args:
        blocks: the comparisons that can be tested.
        untested: number of further comparisons, declared but without enough runs.
    """

    def __init__(self, blocks: Sequence[Block], untested: int = 0) -> None:
        rng = np.random.default_rng(0)
        self._df = np.concatenate([block.df for block in blocks]) if blocks else np.zeros(0)
        self._null = np.hstack([block.draw(rng, _DRAWS) for block in blocks]) if blocks else np.zeros((_DRAWS, 0))
        self._untested = untested

    @property
    def size(self) -> int:
        """Number of comparisons."""
        return len(self._df) + self._untested

    def level(self, alpha: float) -> float:
        """The level at which each comparison may be tested, so that the chance of any false alarm is alpha."""
        if self.size <= 1:
            return alpha
        everything = np.arange(len(self._df))
        low, high = alpha / self.size, alpha
        for _ in range(_HALVINGS):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if self._least_below(middle, everything) <= alpha else (low, middle)
        return low

    def adjust(self, p_values: Sequence[float], places: Sequence[int]) -> list[float]:
        """P values adjusted for the family, step by step from the smallest; never above Holm's.

        Args:
            p_values: of the whole family, nan for the untested ones.
            places: where among them the comparisons of the blocks are, in the order of the blocks.
        """
        adjusted = holm(p_values)
        tested = np.array([p_values[place] for place in places])
        order = np.argsort(tested, kind="stable")
        largest = 0.0
        for rank, at in enumerate(order):
            largest = max(largest, tested[at], self._least_below(tested[at], order[rank:]))
            adjusted[places[at]] = min(adjusted[places[at]], largest)
        return adjusted

    def _least_below(self, p: float, places: np.ndarray) -> float:
        """The chance that any of these comparisons, or an untested one, has a p value as small without a difference."""
        critical = stats.t.isf(p / 2, self._df[places])
        missed = 1 - (1 + int((self._null[:, places] >= critical).any(1).sum())) / (1 + len(self._null))
        return 1 - missed * (1 - p) ** self._untested
