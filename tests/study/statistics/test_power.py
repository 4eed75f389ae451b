"""Power and what follows from it, against simulated studies."""

import math

import numpy as np
import pytest
from scipy import stats

from app.study.statistics.power import detectable, detectable_effect, power, seeds_needed


def test_power_is_what_simulated_studies_have():
    rng, n = np.random.default_rng(0), 5
    for level in (0.05, 0.05 / 4):
        effect = detectable_effect(n - 1, level)
        found = stats.ttest_1samp(rng.normal(effect / n**0.5, 1, (20_000, n)), 0, axis=1).pvalue < level
        assert found.mean() == pytest.approx(0.8, abs=0.01) and power(effect, n - 1, level) == pytest.approx(0.8)


def test_what_is_detectable_has_the_interval_of_its_deviation():
    found = detectable(1.0, 2, 0.05)
    low, high = 2 / stats.chi2.isf([0.025, 0.975], 2)
    assert found.low == pytest.approx(found.value * low**0.5) and found.high == pytest.approx(found.value * high**0.5)
    assert found.value == pytest.approx(3.26 * 3**0.5, abs=0.01)  # 3.26 standard deviations with three seeds


def test_seeds_needed_are_the_fewest_and_the_test_set_bounds_them():
    found = seeds_needed(0.7, 1.0, 0.0, 1.0, 4, 0.05)
    needed = int(found.value)
    assert power(0.7 * needed**0.5, needed - 1, 0.05) >= 0.8 > power(0.7 * (needed - 1) ** 0.5, needed - 2, 0.05)
    assert found.low < needed < found.high
    assert seeds_needed(0.7, 1.0, 0.1, 1.0, 4, 0.05).value == math.inf  # no number of seeds makes up for it
    assert power(1e9, 2, 0.05) == 1
