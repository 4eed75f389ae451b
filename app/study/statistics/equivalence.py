"""Tests that two means are equal within a margin, or that one is not worse by the margin."""

from __future__ import annotations

from app.study.statistics.paired import Mean


def equal_within(mean: Mean, margin: float) -> float:
    """The p value of two one-sided tests (Schuirmann, 1987) that the true mean is outside -margin to margin."""
    return max(mean.p_above(-margin), 1 - mean.p_above(margin))


def not_worse(mean: Mean, margin: float, higher_is_better: bool) -> float:
    """The p value of the test that the true mean is worse than 0 by the margin or more (non-inferiority)."""
    return mean.p_above(-margin) if higher_is_better else 1 - mean.p_above(margin)
