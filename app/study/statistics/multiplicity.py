"""P values adjusted for the number of comparisons in their family."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

_DRAWS = 20_000


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
    """How small the p values of a family get where there is no difference at all.

    Their joint distribution is simulated with a fixed seed: the t statistics of a block are correlated as their means
    are, and share what they share of their variance estimate (Dunnett, 1955); blocks are taken as independent.

    Args:
        blocks: the comparisons that can be tested.
        untested: number of further comparisons, declared but without enough runs.
    """

    def __init__(self, blocks: Sequence[Block], untested: int = 0) -> None:
        rng = np.random.default_rng(0)
        p_values = [2 * special.stdtr(block.df, -block.draw(rng, _DRAWS)) for block in blocks]
        self._null = np.hstack(p_values) if blocks else np.ones((_DRAWS, 0))  # (draws, comparisons)
        self._untested = untested

    def level(self, alpha: float) -> float:
        """The level at which each comparison may be tested, so that the chance of any false alarm is alpha."""
        size = self._null.shape[1] + self._untested
        if size < 2:
            return alpha
        least = np.sort(self._null.min(1, initial=1.0))
        chances = self._chance(np.arange(1, _DRAWS + 1), least)
        return max(alpha / size, float(least[chances <= alpha].max(initial=0.0)))

    def adjust(self, p_values: Sequence[float], places: Sequence[int]) -> list[float]:
        """P values adjusted for the family, step by step from the smallest; never above Holm's.

        Args:
            p_values: of the whole family, nan for the untested ones.
            places: where among them the comparisons of the blocks are, in the order of the blocks.
        """
        adjusted = holm(p_values)
        tested = np.array([p_values[place] for place in places])
        order = np.argsort(tested, kind="stable")
        rising = tested[order]
        least_of_rest = np.minimum.accumulate(self._null[:, order[::-1]], axis=1)[:, ::-1]
        chances = self._chance((least_of_rest <= rising).sum(0), rising)
        for at, chance in zip(order, np.maximum.accumulate(np.maximum(rising, chances)), strict=True):
            adjusted[places[at]] = min(adjusted[places[at]], float(chance))
        return adjusted

    def _chance(self, counts: np.ndarray, p_values: np.ndarray) -> np.ndarray:
        """The chance of a p value as small, here or in an untested comparison, from the number of draws with one."""
        return np.asarray(1 - (1 - (1 + counts) / (1 + _DRAWS)) * (1 - p_values) ** self._untested)
