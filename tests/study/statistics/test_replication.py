"""Effects that are there on several datasets."""

import numpy as np
import pytest

from app.study.statistics.replication import at_least, partial_conjunction


def test_one_of_n_is_fishers_test_and_all_of_n_is_the_largest_p():
    assert partial_conjunction([0.01, 0.2, 0.03], 3) == pytest.approx(0.2)
    assert partial_conjunction([0.01, 0.2, 0.03], 1) < 0.01


def test_the_bound_is_seldom_above_the_truth():
    rng = np.random.default_rng(0)
    p = np.hstack([rng.uniform(size=(500, 5)), rng.uniform(size=(500, 3)) * 1e-4])
    found = [at_least(row) for row in p]
    assert np.mean(np.array(found) > 3) < 0.08 and np.mean(found) > 2.9
    assert at_least([0.5, 0.6]) == 0 and at_least([1e-9] * 4) == 4
