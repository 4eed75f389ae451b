"""What a design can show: power, the minimum detectable difference, and the seeds that a difference needs."""

from __future__ import annotations

import math

from scipy import optimize, stats

from app.study.statistics.estimate import CONFIDENCE, FEWEST_SEEDS, POWER, Ranged

MOST_SEEDS = 10_000  # more are not looked for


def power(effect: float, df: float, level: float) -> float:
    """The probability that a two-sided t test shows a true mean.

    Args:
        effect: the true mean, in its standard errors.
        df: degrees of freedom of the standard error.
        level: of the test.
    """
    critical = stats.t.isf(level / 2, df)
    found = float(stats.ncf.sf(critical**2, 1, df, effect**2))  # t squared is F
    return 1.0 if math.isnan(found) else found  # ncf overflows only where the effect is huge


def detectable_effect(df: float, level: float) -> float:
    """The smallest true mean, in its standard errors, that the test shows with a power of 80 %."""
    high = float(stats.t.isf(level / 2, df))
    while power(high, df, level) < POWER:
        high *= 2
    return float(optimize.brentq(lambda effect: power(effect, df, level) - POWER, 0.0, high))


def deviation_factors(df: float) -> tuple[float, float]:
    """The 95 % interval of a standard deviation with `df` degrees of freedom, as factors of its estimate."""
    if math.isinf(df):  # it is known
        return 1.0, 1.0
    low, high = stats.chi2.isf([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], df)
    return math.sqrt(df / low), math.sqrt(df / high)


def detectable(se: float, df: float, level: float, df_of_sd: float | None = None) -> Ranged:
    """The minimum detectable difference of a design, with the interval that comes from that of its deviation.

    Args:
        se: standard error of the mean.
        df: degrees of freedom of the test.
        level: of the test.
        df_of_sd: degrees of freedom that the deviation was estimated with; by default those of the test.
    """
    value = se * detectable_effect(df, level)
    low, high = deviation_factors(df if df_of_sd is None else df_of_sd)
    return Ranged(value, value * low, value * high)


def seeds_needed(
    difference: float, seeds: float, examples: float, df_per_seed: float, df_of_sd: float, level: float
) -> Ranged:
    """The fewest seeds that show a true difference with a power of 80 %, with the interval from that of the deviation.

    Args:
        difference: the true difference.
        seeds: variance of the difference between seeds.
        examples: variance of the mean that stays however many seeds there are, from the finite test set.
        df_per_seed: degrees of freedom that each seed after the first adds.
        df_of_sd: degrees of freedom of `seeds`.
        level: of the test.
    """
    low, high = deviation_factors(df_of_sd)
    return Ranged(*(_seeds(difference, seeds * factor**2, examples, df_per_seed, level) for factor in (1, low, high)))


def _seeds(difference: float, seeds: float, examples: float, df_per_seed: float, level: float) -> float:
    def has_power(n: int) -> bool:
        se = math.sqrt(seeds / n + examples)
        return se == 0 or power(difference / se, df_per_seed * (n - 1), level) >= POWER

    least, most = FEWEST_SEEDS, MOST_SEEDS
    if not has_power(most):
        return math.inf
    while least < most:
        middle = (least + most) // 2
        least, most = (least, middle) if has_power(middle) else (middle + 1, most)
    return float(least)
