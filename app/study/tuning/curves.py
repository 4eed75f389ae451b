"""The statistics of tuning: where the optimum is, how much the value matters, what the best of n tries gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Optimum:
    """The vertex of a quadratic in the logarithm of a value, with a 95 % interval.

    Attributes:
        value: where the quadratic is highest.
        low, high: ends of Fieller's interval; 0 and infinity where the data leave it open.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class BestOf:
    """What the best of n tries has.

    Attributes:
        n: number of tries.
        expected: the expected best score (Tang et al. 2020: without bias).
        low, high: a 95 % band for the median of the best, simultaneous in n (Lourie et al. 2024); infinite where n is
            too large for the number of tries that were made.
    """

    n: int
    expected: float
    low: float
    high: float


def optimum(values: Sequence[float], scores: Sequence[float], seeds: Sequence[int]) -> Optimum | None:
    """Fit a quadratic in log(value), with a level for each seed, by least squares.

    Args:
        values: of the setting, above 0; one for each run.
        scores: of the runs, the higher the better.
        seeds: of the runs.

    Returns:
        None with fewer than three values or no degree of freedom, and where the quadratic has no maximum among them.
    """
    x, y = np.log(np.asarray(values, float)), np.asarray(scores, float)
    levels = sorted(set(seeds))
    if len(set(values)) < 3 or len(x) <= len(levels) + 2:
        return None
    middle = x.mean()
    x = x - middle
    design = np.column_stack([*[[seed == level for seed in seeds] for level in levels], x, x**2]).astype(float)
    coefficients, *_ = np.linalg.lstsq(design, y, rcond=None)
    slope, bend = coefficients[-2:]
    if bend >= 0 or not x.min() <= -slope / (2 * bend) <= x.max():
        return None
    freedom = len(y) - design.shape[1]
    residual = float(np.sum((y - design @ coefficients) ** 2)) / freedom
    of = residual * np.linalg.inv(design.T @ design)[-2:, -2:]
    t2 = float(stats.t.ppf(0.975, freedom)) ** 2
    # Fieller: the x at which the slope, slope + 2 bend x, does not differ from 0
    a, b, c = 4 * (bend**2 - t2 * of[1, 1]), 4 * (slope * bend - t2 * of[0, 1]), slope**2 - t2 * of[0, 0]
    root = b * b - 4 * a * c
    if a <= 0 or root < 0:
        low, high = 0.0, math.inf
    else:
        low, high = (math.exp(middle + (-b + sign * math.sqrt(root)) / (2 * a)) for sign in (-1, 1))
    return Optimum(math.exp(middle - slope / (2 * bend)), low, high)


def sensitivity(means: Sequence[float]) -> float | None:
    """How far a value from the range is from the best one on average (after Wortsman et al. 2023).

    Args:
        means: score of each value of the range, the higher the better; minus infinity for one that diverged, which
            counts as the worst of the others.
    """
    finite = [mean for mean in means if math.isfinite(mean)]
    if not finite:
        return None
    return max(finite) - float(np.mean([mean if math.isfinite(mean) else min(finite) for mean in means]))


def best_of(scores: Sequence[float]) -> tuple[BestOf, ...]:
    """The best of n = 1, 2, ... tries, as tries without order: values and seeds alike.

    Args:
        scores: of all tries, the higher the better; minus infinity counts as the worst of the others in the expected
            best, and as worse than all in the band.
    """
    finite = [score for score in scores if math.isfinite(score)]
    if not finite:
        return ()
    count = len(scores)
    ranked = np.sort(np.asarray(scores, float))
    counted = np.where(np.isfinite(ranked), ranked, min(finite))
    margin = float(stats.kstwo.ppf(0.95, count))  # of the empirical distribution function: Kolmogorov and Smirnov
    found = []
    for n in range(1, count + 1):
        weights = [math.comb(rank, n - 1) / math.comb(count, n) for rank in range(count)]
        level = 0.5 ** (1 / n)  # the best of n is below its median where each of n is below this quantile
        ends = (_quantile(ranked, level - margin), _quantile(ranked, level + margin))
        found.append(BestOf(n, float(np.dot(weights, counted)), *ends))
    return tuple(found)


def _quantile(ranked: np.ndarray, level: float) -> float:
    """The smallest score that at least this share of the scores does not exceed."""
    if level <= 0:
        return -math.inf
    return math.inf if level > 1 else float(ranked[math.ceil(level * len(ranked) - 1e-9) - 1])
