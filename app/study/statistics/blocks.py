"""Seeds as blocks: the variance that a comparison borrows from all variants that ran on the same seeds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_WORTH = 1 / 3  # of the pooled degrees of freedom


class Variance(NamedTuple):
    """A variance with its degrees of freedom; `shared` of them are common to all comparisons of a table."""

    value: float
    df: float
    shared: float


def residual_variance(scores: np.ndarray) -> tuple[float, float]:
    """The variance of a score around variant plus seed, and its degrees of freedom (two-way analysis of variance).

    Args:
        scores: (seeds, variants), nan where a run is missing.
    """
    known = ~np.isnan(scores)
    seeds, variants = np.nonzero(known)
    design = np.hstack([np.eye(scores.shape[0])[seeds], np.eye(scores.shape[1])[variants]])
    values = scores[known]
    fitted, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    df = len(values) - int(rank)
    return (float(((values - design @ fitted) ** 2).sum()) / df, float(df)) if df > 0 else (0.0, 0.0)


def shrunken(own: float, own_df: float, pooled: float, pooled_df: float) -> Variance:
    """A comparison's own variance of differences, drawn to the pooled one as a moderated t has it (Smyth, 2004).

    The pooled variance is worth a third of the degrees of freedom that are not the comparison's own. All of them would
    be right if all variants were equally noisy; a third keeps false alarms at 5 % even where one is three times as
    noisy as the others (tests/study/statistics/test_simulations.py), and still doubles the power of three seeds.

    Args:
        own: variance of the comparison's differences over seeds.
        own_df: its degrees of freedom.
        pooled: variance of differences as all variants have it.
        pooled_df: its degrees of freedom.
    """
    prior = max(0.0, _WORTH * (pooled_df - own_df))
    df = own_df + prior
    return Variance((own_df * own + prior * pooled) / df, df, prior)
