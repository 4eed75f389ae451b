"""Student's t on paired differences against hand-computed values and scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from app.study.statistics.equivalence import equal_within, not_worse
from app.study.statistics.paired import Mean, lattice_step, outliers, standard_deviation


def test_a_hand_computed_example():
    # differences 1, 2, 3: mean 2, sd 1, standard error 1 / sqrt(3); t with 2 degrees at 97.5 %: 4.30265
    found = Mean(2.0, standard_deviation(np.array([1.0, 2.0, 3.0])) / 3**0.5, 2)
    assert found.interval() == pytest.approx((2 - 4.30265 / 3**0.5, 2 + 4.30265 / 3**0.5), rel=1e-5)
    # t = 2 sqrt(3) with 2 degrees: p = 1 - t / sqrt(t^2 + 2) on both sides together
    t = 2 * 3**0.5
    assert found.p == pytest.approx(1 - t / math.sqrt(t**2 + 2))


def test_intervals_and_p_values_are_scipys():
    differences = np.random.default_rng(0).normal(0.4, 1, 9)
    found = Mean(float(differences.mean()), standard_deviation(differences) / 3, 8)
    expected = stats.ttest_1samp(differences, 0)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval()))
    assert found.interval(0.01) == pytest.approx(tuple(expected.confidence_interval(0.99)))
    below, above = (stats.ttest_1samp(differences, bound, alternative=side).pvalue
                    for bound, side in ((-0.9, "greater"), (0.9, "less")))  # fmt: skip
    assert equal_within(found, 0.9) == pytest.approx(max(below, above))
    assert (not_worse(found, 0.9, True), not_worse(found, 0.9, False)) == pytest.approx((below, above))


def test_no_error_is_known_of_one_difference_or_of_equal_ones():
    assert math.isnan(standard_deviation(np.array([1.0]))) and standard_deviation(np.full(3, 0.2)) == 0
    dust = np.array([0.1 + 0.2, 0.3, 0.3])  # which rounding alone separates
    assert standard_deviation(dust) == 0 and math.isnan(Mean(0.3, 0.0, 2).p)


def test_a_run_that_collapsed_is_flagged_from_five_seeds_on():
    assert outliers(np.array([0.1, -0.2, 0.3, 0.0, -9.0])) == [4] and not outliers(np.array([0.1, 0.2, 0.0, -9.0]))
    assert not outliers(np.zeros(5)) and not outliers(np.array([0.1, -0.2, 0.3, 0.0, 0.9]))
    drawn = np.random.default_rng(0).standard_normal((1000, 5))
    assert sum(bool(outliers(one)) for one in drawn) <= stats.binom.ppf(0.9995, 1000, 0.01)


def test_the_step_of_shares_is_that_of_the_test_set():
    right = np.array([964, 977, 981, 950])
    assert lattice_step(right / 1275) == 1 / 1275 and lattice_step(np.array([0.5, 0.75])) == 0.25
    assert lattice_step(np.random.default_rng(0).random(4)) == 0
