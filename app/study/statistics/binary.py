"""The test of outcomes that a run either has or has not, such as divergence."""

from __future__ import annotations

import math
from functools import lru_cache

from scipy import stats


@lru_cache
def unequal_shares(ours: int, ours_of: int, theirs: int, theirs_of: int) -> float:
    """The two-sided p value of Boschloo's exact test that an outcome is as likely in both groups of runs.

    It is exact for independent runs. Runs with the same seed tend to diverge together, which only makes it safer.
    McNemar's test, which would use the pairs, can never show anything with five seeds: its least p value is 0.0625.

    Args:
        ours: runs of ours that have the outcome.
        ours_of: all runs of ours.
        theirs: runs of theirs that have it.
        theirs_of: all runs of theirs.

    Returns:
        nan where either has no run.
    """
    if not (ours_of and theirs_of):
        return math.nan
    if ours * theirs_of == theirs * ours_of:
        return 1.0
    table = [[ours, theirs], [ours_of - ours, theirs_of - theirs]]
    return min(1.0, float(stats.boschloo_exact(table).pvalue))
