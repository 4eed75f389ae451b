"""Statistics of a study: means over seeds, paired differences from the baseline, minimum detectable differences.

Runs with the same seed are paired: they share initial weights, batches and dropout, so their difference is one
observation. Tests are two-sided, at 95 % confidence, by Student's t over seeds unless said otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

CONFIDENCE, POWER = 0.95, 0.8
FEWEST_SEEDS, MOST_SEEDS = 3, 10_000  # with fewer, nothing is called a difference; more are not looked for
_RESAMPLES = 10_000


@dataclass(frozen=True)
class Summary:
    """Scores of one norm over seeds; `sd` is the sample standard deviation (n - 1), nan for one seed."""

    n: int
    mean: float
    sd: float


@dataclass(frozen=True)
class Difference:
    """A norm minus the baseline, seed by seed.

    Attributes:
        n: number of seeds that both have.
        mean: mean of the differences.
        sd: sample standard deviation of the differences.
        t_interval: 95 % interval of the mean by Student's t; nan for one seed.
        bootstrap_interval: 95 % percentile interval of the mean over resampled seeds; nan for one seed.
        p_value: of the t test that the mean is 0; nan for one seed, 1 where all differences are 0.
        detectable: minimum detectable difference: the smallest true one that n seeds show with a power of 80 %.
        seeds_needed: seeds that show a true difference as large as this mean with that power; None above MOST_SEEDS.
    """

    n: int
    mean: float
    sd: float
    t_interval: tuple[float, float]
    bootstrap_interval: tuple[float, float]
    p_value: float
    detectable: float
    seeds_needed: int | None


def summarise(scores: Sequence[float]) -> Summary:
    """Mean and standard deviation of the scores of one norm."""
    return Summary(len(scores), float(np.mean(scores)), float(np.std(scores, ddof=1)) if len(scores) > 1 else math.nan)


def paired_difference(norm: dict[int, float], baseline: dict[int, float]) -> Difference:
    """Compare the scores of a norm with the baseline's, by seed; seeds that one of them lacks are skipped.

    Raises:
        ValueError: if they have no seed in common.
    """
    seeds = sorted(norm.keys() & baseline.keys())
    if not seeds:
        raise ValueError("no seed in common")
    differences = np.array([norm[seed] - baseline[seed] for seed in seeds])
    n, mean = len(seeds), float(differences.mean())
    if n == 1:
        nothing = (math.nan, math.nan)
        return Difference(1, mean, math.nan, nothing, nothing, math.nan, math.nan, None)
    sd = float(differences.std(ddof=1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * sd / math.sqrt(n)
    draws = differences[np.random.default_rng(0).integers(0, n, (_RESAMPLES, n))].mean(1)
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Difference(
        n=n,
        mean=mean,
        sd=sd,
        t_interval=(mean - half, mean + half),
        bootstrap_interval=(float(low), float(high)),
        p_value=_p_value(mean, sd, n),
        detectable=detectable_difference(sd, n),
        seeds_needed=seeds_needed(mean, sd),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted for their number (Holm, 1979): the chance of any false alarm in a study stays below 5 %.

    Values that are nan stay nan and do not count.
    """
    adjusted = [math.nan] * len(p_values)
    order = sorted((place for place, p in enumerate(p_values) if not math.isnan(p)), key=lambda place: p_values[place])
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def power(difference: float, sd: float, n: int) -> float:
    """Probability that the paired t test over n seeds shows a true difference, where differences vary by `sd`."""
    if n < 2:
        return 0.0
    if sd == 0:
        return float(difference != 0)
    critical = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)
    return float(stats.ncf.sf(critical**2, 1, n - 1, n * (difference / sd) ** 2))  # t squared is F


def detectable_difference(sd: float, n: int) -> float:
    """The minimum detectable difference: the smallest true one that n seeds show with a power of 80 %."""
    if sd == 0:
        return 0.0
    high = 1.0
    while power(high, 1.0, n) < POWER:
        high *= 2
    return sd * float(optimize.brentq(lambda size: power(size, 1.0, n) - POWER, 0.0, high))


def seeds_needed(difference: float, sd: float) -> int | None:
    """The fewest seeds, at least three, that show a true difference with a power of 80 %; None above MOST_SEEDS."""
    if difference == 0:
        return None
    low, high = FEWEST_SEEDS, MOST_SEEDS
    if power(difference, sd, high) < POWER:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if power(difference, sd, middle) >= POWER else (middle + 1, high)
    return low


def _p_value(mean: float, sd: float, n: int) -> float:
    if sd == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stats.t.sf(abs(mean) / (sd / math.sqrt(n)), n - 1))
