"""Statistics of studies against scipy, against values computed by hand, and against simulated studies."""

import math

import numpy as np
import pytest
from scipy import stats

from app.study.statistics import (
    detectable_difference,
    holm,
    paired_difference,
    power,
    seeds_needed,
    summarise,
)


def test_a_hand_computed_example():
    # differences 1, 2, 3: mean 2, sd 1, standard error 1 / sqrt(3); t with 2 degrees at 97.5 %: 4.30265
    found = paired_difference({1: 11.0, 2: 12.0, 3: 13.0}, {1: 10.0, 2: 10.0, 3: 10.0})
    assert (found.n, found.mean, found.sd) == (3, 2.0, 1.0)
    assert found.t_interval == pytest.approx((2 - 4.30265 / 3**0.5, 2 + 4.30265 / 3**0.5), rel=1e-5)
    # t = 2 sqrt(3) with 2 degrees: p = 1 - t / sqrt(t^2 + 2) on both sides together
    t = 2 * 3**0.5
    assert found.p_value == pytest.approx(1 - t / math.sqrt(t**2 + 2))
    # of 27 resamples one has the mean 1 and three 4/3: 2.5 % lies among the first
    assert found.bootstrap_interval == pytest.approx((1.0, 3.0))


def test_intervals_and_p_values_are_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.4, 1, 9), rng.normal(0, 1, 9)
    found = paired_difference(dict(enumerate(a)), dict(enumerate(b)))
    expected = stats.ttest_rel(a, b)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.t_interval == pytest.approx(tuple(expected.confidence_interval()))
    bootstrap = stats.bootstrap((a - b,), np.mean, method="percentile", rng=np.random.default_rng(1))
    assert found.bootstrap_interval == pytest.approx(tuple(bootstrap.confidence_interval), abs=0.03)


def test_seeds_that_one_lacks_do_not_count():
    found = paired_difference({1: 1.0, 2: 2.0, 5: 9.0}, {1: 0.0, 2: 1.5, 3: 7.0})
    assert found.n == 2 and found.mean == pytest.approx(0.75)
    with pytest.raises(ValueError, match="no seed in common"):
        paired_difference({1: 1.0}, {2: 1.0})


def test_one_seed_shows_nothing_and_equal_runs_do_not_differ():
    found = paired_difference({1: 3.0}, {1: 1.0})
    assert found.mean == 2.0 and math.isnan(found.p_value) and math.isnan(found.t_interval[0])
    same = paired_difference({1: 1.0, 2: 2.0, 3: 1.5}, {1: 1.0, 2: 2.0, 3: 1.5})
    assert (same.mean, same.p_value, same.seeds_needed) == (0, 1, None) and same.t_interval == (0, 0)
    assert math.isnan(summarise([1.0]).sd) and summarise([1.0, 3.0]).sd == pytest.approx(2**0.5)


def test_holm_by_hand():
    # sorted 0.01 0.02 0.03 0.04 times 4 3 2 1: 0.04 0.06 0.06 0.04, and never less than the one before
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    adjusted = holm([0.5, math.nan, 0.6])
    assert adjusted[0] == adjusted[2] == 1.0 and math.isnan(adjusted[1])


def test_power_is_what_simulated_studies_have():
    rng, n, difference = np.random.default_rng(0), 5, 1.4
    found = stats.ttest_1samp(rng.normal(difference, 1, (20_000, n)), 0, axis=1).pvalue < 0.05
    assert power(difference, 1.0, n) == pytest.approx(found.mean(), abs=0.01)
    assert power(detectable_difference(2.5, 4), 2.5, 4) == pytest.approx(0.8)
    needed = seeds_needed(0.7, 1.0)
    assert power(0.7, 1.0, needed) >= 0.8 > power(0.7, 1.0, needed - 1)
    assert seeds_needed(1e-6, 1.0) is None and seeds_needed(5.0, 0.0) == 3


def simulated(rng, effect, seeds=5, norms=4):
    """Holm's p values of a study: each seed has its own luck, which paired runs share."""
    luck = rng.normal(75, 1, seeds)
    baseline = dict(enumerate(luck + rng.normal(0, 0.3, seeds)))
    others = [dict(enumerate(luck + e + rng.normal(0, 0.3, seeds))) for e in [effect] + [0.0] * (norms - 1)]
    return holm([paired_difference(norm, baseline).p_value for norm in others])


@pytest.fixture
def few_resamples(monkeypatch):
    """Of the bootstrap, whose intervals no p value depends on."""
    monkeypatch.setattr("app.study.statistics._RESAMPLES", 10)


@pytest.mark.slow
def test_noise_is_called_a_difference_no_more_often_than_it_may_be(few_resamples):
    rng = np.random.default_rng(0)
    false = sum(min(simulated(rng, 0.0)) < 0.05 for _ in range(200))
    assert false <= stats.binom.ppf(0.975, 200, 0.05)  # Holm's correction may only lower it
    single = sum(simulated(rng, 0.0, norms=1)[0] < 0.05 for _ in range(200))
    assert stats.binom.ppf(0.025, 200, 0.05) <= single <= stats.binom.ppf(0.975, 200, 0.05)


def test_a_planted_difference_is_found(few_resamples):
    rng = np.random.default_rng(1)
    found = [simulated(rng, 2.5) for _ in range(20)]
    assert all(p[0] < 0.05 for p in found)
