"""The exact test of divergences."""

import pytest

from app.study.statistics.binary import unequal_shares


def test_a_norm_that_always_diverges_is_told_from_one_that_never_does():
    assert unequal_shares(5, 5, 0, 5) < 0.01 and unequal_shares(3, 3, 0, 3) == pytest.approx(2 / 64, abs=1e-3)
    assert unequal_shares(0, 5, 5, 5) == pytest.approx(unequal_shares(5, 5, 0, 5))
    assert unequal_shares(1, 5, 0, 5) > 0.3 and unequal_shares(2, 4, 1, 2) == 1
