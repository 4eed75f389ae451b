"""On how many of several datasets a norm is better: partial conjunction, with a lower bound."""

from __future__ import annotations

from collections.abc import Sequence

from scipy import stats

from app.study.statistics.estimate import ALPHA


def partial_conjunction(p_values: Sequence[float], k: int) -> float:
    """The p value of the test that the effect is there on fewer than k datasets (Benjamini and Heller, 2008).

    Fisher's combination of all but the k - 1 smallest p values, which are of independent datasets.

    Args:
        p_values: one-sided, one for each dataset.
        k: from 1 to the number of datasets.
    """
    rest = sorted(p_values)[k - 1 :]
    return float(stats.combine_pvalues(rest, method="fisher").pvalue)


def at_least(p_values: Sequence[float], alpha: float = ALPHA) -> int:
    """A lower bound of the number of datasets with the effect, which is too high with a probability of alpha at most.

    Dror et al. (2017): the largest k such that the hypotheses of fewer than 1, 2, ..., k datasets are all rejected.
    """
    found = 0
    while found < len(p_values) and partial_conjunction(p_values, found + 1) < alpha:
        found += 1
    return found
