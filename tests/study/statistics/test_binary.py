"""The exact test of divergences."""

import numpy as np
import pytest

from app.study.statistics.binary import unequal_shares


def test_a_norm_that_always_diverges_is_told_from_one_that_never_does():
    assert unequal_shares(5, 5, 0, 5) < 0.01 and unequal_shares(3, 3, 0, 3) == pytest.approx(2 / 64, abs=1e-3)
    assert unequal_shares(0, 5, 5, 5) == pytest.approx(unequal_shares(5, 5, 0, 5))
    assert unequal_shares(1, 5, 0, 5) > 0.3 and unequal_shares(2, 4, 1, 2) == 1


def test_seeds_on_which_both_tend_to_diverge_make_no_false_alarms():
    """The exact chance of p < 0.05 where two norms are alike, over five seeds of unlike risks."""
    for risks in ([0.5] * 5, [0.9, 0.9, 0.5, 0.1, 0.1]):
        counts = np.ones(1)  # chances of 0, 1, ... divergences
        for risk in risks:
            counts = np.convolve(counts, [1 - risk, risk])
        shown = [[unequal_shares(ours, 5, theirs, 5) < 0.05 for theirs in range(6)] for ours in range(6)]
        assert counts @ shown @ counts <= 0.05
