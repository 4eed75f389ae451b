"""Seeds as blocks: the variance that a comparison borrows from all variants that ran on the same seeds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

_WORTH = 1 / 3  # of the pooled degrees of freedom
_UNLIKE = 0.01  # level at which a variant is omitted from the pool


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


def noisier(scores: np.ndarray) -> np.ndarray:
    """P values of the exact F tests that each variant's scores vary no more around the seeds' than the others' do.

    Args:
        scores: (..., seeds, variants), at least two and three, none missing.

    Returns:
        (..., variants).
    """
    seeds, others = scores.shape[-2], scores.shape[-1] - 1
    dust = (1e-9 * np.abs(scores).max()) ** 2  # variances below this are rounding of floats
    found = []
    for variant in range(others + 1):
        rest = np.delete(scores, variant, -1)
        by_seed = rest.mean(-1, keepdims=True)
        own = (scores[..., variant] - by_seed[..., 0]).var(-1, ddof=1) * others / (others + 1)
        residuals = rest - by_seed - rest.mean(-2, keepdims=True) + rest.mean((-2, -1), keepdims=True)
        degrees = seeds - 1, (seeds - 1) * (others - 1)
        pooled = (residuals**2).sum((-2, -1)) / degrees[1]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(own > dust, own, 0.0) / np.where(pooled > dust, pooled, 0.0)
        found.append(np.nan_to_num(stats.f.sf(ratio, *degrees), nan=1.0))
    return np.stack(found, -1)


def alike(scores: np.ndarray) -> list[int]:
    """The variants whose scores vary alike, after those that vary more were omitted, the noisiest first.

    One norm that is unstable would else be taken for the noise of all.

    Args:
        scores: (seeds, variants), nan where a run is missing; tested on seeds without a missing run.
    """
    complete = scores[~np.isnan(scores).any(1)]
    kept = list(range(scores.shape[1]))
    while len(complete) > 1 and len(kept) > 2:
        p_values = noisier(complete[:, kept])
        if p_values.min() * len(kept) >= _UNLIKE:
            break
        del kept[int(p_values.argmin())]
    return kept


def shrunken(own: float, own_df: float, pooled: float, pooled_df: float) -> Variance:
    """A comparison's own variance of differences, drawn to the pooled one as a moderated t has it (Smyth, 2004).

    The pooled variance is worth a third of the degrees of freedom that are not the comparison's own. All of them would
    be right if all variants were equally noisy; a third keeps false alarms near 5 % even where one is three times as
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
