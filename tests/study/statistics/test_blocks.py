"""Which variants share a variance."""

import numpy as np
import pytest
from scipy import stats

from app.study.statistics.blocks import alike, noisier, residual_variance


def test_the_residual_variance_is_that_of_a_two_way_table_by_hand():
    # means of seeds 2, 4, of variants 2, 4, of all 3: residuals +-1, one degree of freedom
    assert residual_variance(np.array([[2.0, 2.0], [2.0, 6.0]])) == pytest.approx((4.0, 1))
    missing = np.array([[2.0, 2.0], [2.0, 6.0], [9.0, np.nan]])  # a seed with one run tells nothing of it
    assert residual_variance(missing) == pytest.approx((4.0, 1))


def test_a_variant_is_left_out_where_it_varies_more_and_by_an_exact_test():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((4000, 4, 5)) + rng.normal(0, 9, (4000, 4, 1))
    p = noisier(scores)
    assert stats.kstest(p[:, 2], "uniform").pvalue > 0.001
    table = scores[0].copy()
    table[:, 3] *= 30
    table[:, 1] *= 200
    assert alike(table) == [0, 2, 4] and alike(scores[1]) == [0, 1, 2, 3, 4]
    assert alike(np.ones((3, 4))) == [0, 1, 2, 3] and alike(table[:1]) == [0, 1, 2, 3, 4]
