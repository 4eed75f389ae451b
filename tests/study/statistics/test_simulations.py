"""Simulated studies: intervals cover, false alarms are as rare as promised, and what is stated as detectable is found.

All studies of a scenario are computed at once, by the functions that an analysis uses.
"""

import numpy as np
import pytest
from scipy import stats

from app.study.statistics.blocks import shrunken
from app.study.statistics.examples import components, satterthwaite
from app.study.statistics.multiplicity import Block, Joint
from app.study.statistics.power import detectable
from app.study.statistics.sequential import nominal_levels

STUDIES = 4000
DRAWN = {
    "normal": lambda rng, size: rng.standard_normal(size),
    "t3": lambda rng, size: rng.standard_t(3, size) / 3**0.5,
    "skewed": lambda rng, size: rng.exponential(size=size) - 1,
    "lattice": lambda rng, size: np.round(rng.standard_normal(size)),  # one test example is a standard deviation
    "fine lattice": lambda rng, size: np.round(2 * rng.standard_normal(size)) / 2,
}
STEP = {"lattice": 1.0, "fine lattice": 0.5}


def within(count, of, rate):
    """Whether a count is in the 99.9 % binomial interval of its rate."""
    return stats.binom.ppf(0.0005, of, rate) <= count <= stats.binom.ppf(0.9995, of, rate)


def compared(scores, step=0.0):
    """Means, standard errors and degrees of freedom of all studies; scores are (studies, seeds, variants)."""
    _, n, variants = scores.shape
    differences = scores[:, :, 1:] - scores[:, :, :1]
    rest = scores - scores.mean(1, keepdims=True) - scores.mean(2, keepdims=True) + scores.mean((1, 2), keepdims=True)
    df = (n - 1) * (variants - 1)
    variance = shrunken(differences.var(1, ddof=1), n - 1, 2 * (rest**2).sum((1, 2))[:, None] / df, df)
    return differences.mean(1), np.sqrt(np.maximum(variance.value, step**2 / 12) / n), variance


def level(variance, comparisons):
    """Of each comparison in a family of one table."""
    correlation = np.full((comparisons, comparisons), 0.5) + 0.5 * np.eye(comparisons)
    return Joint([Block(correlation, np.full(comparisons, variance.df), variance.shared)]).level(0.05)


def p_values(mean, se, df):
    return 2 * stats.t.sf(np.abs(mean) / se, df)


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("drawn", DRAWN)
def test_intervals_cover_and_false_alarms_are_rare(drawn, n):
    rng = np.random.default_rng(n)
    scores = DRAWN[drawn](rng, (STUDIES, n, 5))
    mean, se, variance = compared(scores, STEP.get(drawn, 0.0))
    p = p_values(mean, se, variance.df)
    false = (p.min(1) < level(variance, 4)).sum()
    covered = (p[:, 0] >= 0.05).sum()
    print(drawn, n, false / STUDIES, covered / STUDIES)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_skewed_differences(n):
    """Of two norms alone, one of which has exponential scores: the t interval cannot cover."""
    rng = np.random.default_rng(n)
    scores = np.stack([np.zeros((STUDIES, n)), DRAWN["skewed"](rng, (STUDIES, n))], axis=2)
    mean, se, variance = compared(scores)
    print(n, (p_values(mean, se, variance.df)[:, 0] >= 0.05).mean())


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("noisy", [0, 4])
def test_a_norm_that_is_three_times_as_noisy(noisy, n):
    scores = np.random.default_rng(n).standard_normal((STUDIES, n, 5))
    scores[:, :, noisy] *= 3
    mean, se, variance = compared(scores)
    print(noisy, n, (p_values(mean, se, variance.df).min(1) < level(variance, 4)).mean())


@pytest.mark.parametrize("n", [3, 5, 10])
def test_what_is_detectable_is_found_four_times_in_five(n):
    scores = np.random.default_rng(n).standard_normal((STUDIES, n, 5))
    _, _, variance = compared(scores)
    at = level(variance, 4)
    scores[:, :, 1] += detectable((2 / n) ** 0.5, variance.df, at).value
    mean, se, _ = compared(scores)
    print(n, (p_values(mean, se, variance.df)[:, 0] < at).mean())


@pytest.mark.parametrize("n", [3, 5, 10])
def test_intervals_cover_for_new_test_examples(n):
    rng, studies, examples = np.random.default_rng(n), 400, 300
    persistent, residual = 10.0, 30.0  # variances in points squared of an example
    covered = alone = 0
    for _ in range(studies):
        differences = rng.normal(0, persistent**0.5, examples) + rng.normal(0, residual**0.5, (n, examples))
        found = components(differences)
        mean, of_seeds = differences.mean(), max(differences.mean(1).var(ddof=1), found.residual) / n
        df = satterthwaite((of_seeds, found.persistent), (n - 1, examples - 1))
        covered += abs(mean) < stats.t.isf(0.025, df) * (of_seeds + found.persistent) ** 0.5
        alone += abs(mean) < stats.t.isf(0.025, n - 1) * (differences.mean(1).var(ddof=1) / n) ** 0.5
    print(n, covered / studies, alone / studies)


def test_looks_do_not_add_false_alarms():
    looks = (5, 10, 20)
    differences = np.random.default_rng(0).standard_normal((STUDIES, 20))
    levels = nominal_levels(looks, 0.05)
    found = [stats.ttest_1samp(differences[:, :n], 0, axis=1).pvalue < at for n, at in zip(looks, levels, strict=True)]
    unspent = [stats.ttest_1samp(differences[:, :n], 0, axis=1).pvalue < 0.05 for n in looks]
    print(np.any(found, axis=0).mean(), np.any(unspent, axis=0).mean())
