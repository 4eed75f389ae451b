"""Variance over seed and example, against values computed by hand and against sums."""

import numpy as np
import pytest

from app.study.statistics.examples import components, pseudo_values, satterthwaite


def test_pseudo_values_are_the_examples_own_where_the_score_is_their_mean():
    correct = np.array([1.0, 0, 1, 1])
    found = pseudo_values(np.stack([correct, np.ones(4)], axis=1), lambda sums: sums[..., 0] / sums[..., 1])
    assert found == pytest.approx(correct)


def test_pseudo_values_of_a_ratio_average_to_it_and_vary_as_the_delta_method_says():
    rng = np.random.default_rng(0)
    words = rng.integers(5, 30, 2000).astype(float)
    right = rng.binomial(words.astype(int), 0.8).astype(float)
    found = pseudo_values(np.stack([right, words], axis=1), lambda sums: sums[..., 0] / sums[..., 1])
    ratio = right.sum() / words.sum()
    assert found.mean() == pytest.approx(ratio, abs=1e-5)
    assert found.var() == pytest.approx(((right - ratio * words) ** 2).mean() / words.mean() ** 2, rel=0.01)


def test_components_of_a_table_computed_by_hand():
    # seeds x examples; residuals +-0.5, so MS = 1 / 1; examples' means 1 and 4 vary by 4.5; 4.5 - 1 / 2 is theirs
    found = components(np.array([[1.5, 3.5], [0.5, 4.5]]))
    assert found.residual == pytest.approx(1 / 2) and found.persistent == pytest.approx((4.5 - 0.5) / 2)
    assert components(np.array([[1.0, -1.0], [-1.0, 1.0]])).persistent == 0


def test_degrees_of_freedom_are_between_those_of_the_parts():
    assert satterthwaite((1.0, 0.0), (2, 1000)) == 2 and satterthwaite((0.0, 0.0), (2, 1000)) == 2
    assert 2 < satterthwaite((1.0, 1.0), (2, 1000)) < 1002
