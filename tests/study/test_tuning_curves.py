"""The statistics of tuning against enumeration, simulation and closed forms."""

import itertools
import math

import numpy as np
import pytest

from app.study.tuning.curves import best_of, optimum, sensitivity


def test_the_expected_best_of_n_is_the_mean_over_all_subsets():
    scores = [3.0, 1.0, 2.5, 2.5, 7.0]
    for one in best_of(scores):
        assert one.expected == pytest.approx(np.mean([max(some) for some in itertools.combinations(scores, one.n)]))
    assert best_of([-math.inf, 1.0, 2.0])[0].expected == pytest.approx((1 + 1 + 2) / 3)
    assert best_of([-math.inf]) == ()


def test_the_band_of_the_best_of_n_holds_for_all_n_together():
    rng = np.random.default_rng(1)
    medians = 0.5 ** (1 / np.arange(1, 13))  # of the best of n uniform numbers
    held = sum(
        all(one.low <= median <= one.high for one, median in zip(best_of(rng.random(12)), medians, strict=True))
        for _ in range(400)
    )
    assert 0.93 * 400 <= held <= 400  # 95 %, and more as few of its levels are asked for


def test_the_interval_of_the_optimum_holds_it():
    rng = np.random.default_rng(2)
    rates = np.repeat([1e-4, 3e-4, 1e-3, 3e-3, 1e-2], 2)
    seeds = np.tile([1, 2], 5)
    truth = 7e-4
    found = []
    for _ in range(400):
        noise = rng.normal(0, 0.3, 10) + np.tile(rng.normal(0, 2, 2), 5)
        found.append(optimum(rates, -(np.log(rates / truth) ** 2) + noise, seeds))
    assert all(one is not None for one in found)
    held = np.mean([one.low <= truth <= one.high for one in found])
    assert 0.92 <= held <= 0.98  # 95 %, within 3 binomial standard deviations
    assert optimum(rates, np.log(rates / truth) ** 2, seeds) is None  # a minimum
    assert optimum(rates[:4], rates[:4], seeds[:4]) is None  # two values
    flat = optimum(rates, -1e-3 * np.log(rates / truth) ** 2 + rng.normal(0, 1, 10), seeds)
    assert flat is None or flat.high == math.inf


def test_sensitivity_is_the_mean_distance_from_the_best():
    assert sensitivity([1.0, 3.0, 2.0]) == 1.0
    assert sensitivity([1.0, 3.0, -math.inf]) == pytest.approx(4 / 3)
    assert sensitivity([-math.inf]) is None
