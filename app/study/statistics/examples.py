"""Seeds and test examples together: analysis of variance of paired differences over seed x example."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Score = Callable[[np.ndarray], np.ndarray]  # sums of counts (..., columns) to scores (...)


class Components(NamedTuple):
    """What the test set contributes to the variance of a mean difference.

    Attributes:
        persistent: variance of the mean from examples on which the norms differ whatever the seed; more seeds leave it.
        residual: the least variance that the difference with one seed must have, as other examples would have shown.
        examples: number of test examples.
    """

    persistent: float
    residual: float
    examples: int


def pseudo_values(counts: np.ndarray, score: Score) -> np.ndarray:
    """Each example's share in a score that is a function of summed counts, by the jackknife; their mean is the score.

    For a mean over examples these are the examples' own values.

    Args:
        counts: a row for each example.
        score: the function of the sums.
    """
    total, n = counts.sum(0), len(counts)
    values: np.ndarray = n * score(total) - (n - 1) * score(total - counts)
    return values


def components(differences: np.ndarray) -> Components:
    """Variance components of a seed x example table without replication, by mean squares (Searle et al., 1992).

    Args:
        differences: ours minus theirs, (seeds, examples); at least two of both.
    """
    seeds, examples = differences.shape
    by_example = differences.mean(0)
    residuals = differences - by_example - differences.mean(1, keepdims=True) + differences.mean()
    residual = float((residuals**2).sum()) / ((seeds - 1) * (examples - 1))
    between = float(by_example.var(ddof=1)) - residual / seeds
    return Components(max(0.0, between) / examples, residual / examples, examples)


def satterthwaite(variances: tuple[float, float], degrees: tuple[float, float]) -> float:
    """Degrees of freedom of a sum of two independent variances (Satterthwaite, 1946)."""
    total = sum(variances)
    return total**2 / sum(v**2 / df for v, df in zip(variances, degrees, strict=True)) if total > 0 else degrees[0]
