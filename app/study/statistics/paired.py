"""Student's t on paired differences: one difference a seed, whose standard error has one or two sources."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from app.study.statistics.estimate import CONFIDENCE

_DUST = 1e-9  # a standard deviation below this fraction of the mean is rounding of floats
_MOST_EXAMPLES, _ROUNDING = 20_000, 1e-6  # the step of larger test sets makes no difference; of a count
_LEVEL_OF_OUTLIERS, _FEWEST_FOR_OUTLIERS = 0.01, 5


@dataclass(frozen=True)
class Mean:
    """A mean with its standard error; `p` and the interval are nan where the error is not known, or is 0.

    Args:
        value: the mean.
        se: its standard error.
        df: degrees of freedom of the standard error.
    """

    value: float
    se: float
    df: float

    @property
    def is_known(self) -> bool:
        """Whether there is an error to test against."""
        return self.se > 0 and self.df > 0

    @property
    def p(self) -> float:
        """The two-sided p value of the test that the mean is 0."""
        return float(2 * stats.t.sf(abs(self.value) / self.se, self.df)) if self.is_known else math.nan

    def p_above(self, bound: float) -> float:
        """The one-sided p value of the test that the mean is at most `bound`."""
        return float(stats.t.sf((self.value - bound) / self.se, self.df)) if self.is_known else math.nan

    def interval(self, level: float = 1 - CONFIDENCE) -> tuple[float, float]:
        """The interval that misses the true mean with probability `level`."""
        if not self.is_known:
            return math.nan, math.nan
        half = float(stats.t.isf(level / 2, self.df)) * self.se
        return self.value - half, self.value + half


def standard_deviation(differences: np.ndarray) -> float:
    """The sample standard deviation (n - 1): nan for one difference, 0 for differences that only rounding separates."""
    if len(differences) < 2:
        return math.nan
    sd = float(differences.std(ddof=1))
    return 0.0 if sd <= _DUST * float(np.abs(differences).max()) else sd


def lattice_step(shares: np.ndarray) -> float:
    """The step of shares that are all k / N: 1 / N for the smallest such N, 0 where there is none up to 20,000."""
    numbers = np.arange(1, _MOST_EXAMPLES + 1)
    fits = np.ones(len(numbers), dtype=bool)
    for share in np.unique(shares):
        counts = share * numbers
        fits &= np.abs(counts - np.round(counts)) < _ROUNDING
    return 1 / float(numbers[fits.argmax()]) if fits.any() else 0.0


def outliers(differences: np.ndarray) -> list[int]:
    """Places of differences that are far from all others; none below five seeds.

    By the t test of each against the rest, at 1 % over all of them: of five normal differences, one is more than five
    median absolute deviations from the median in 22 % of studies.
    """
    n = len(differences)
    if n < _FEWEST_FOR_OUTLIERS:
        return []
    found = []
    for place in range(n):
        rest = np.delete(differences, place)
        sd = standard_deviation(rest)
        if sd > 0:
            t = abs(differences[place] - rest.mean()) / (sd * math.sqrt(n / (n - 1)))
            if 2 * n * stats.t.sf(t, n - 2) < _LEVEL_OF_OUTLIERS:
                found.append(place)
    return found
