"""Group-sequential tests: looks at a study before its end, which spend the error of 5 % by a plan.

Lan and DeMets (1983): by a fraction t of the seeds, each side has spent 2 - 2 Phi(z(alpha / 4) / sqrt(t)) of its
alpha / 2, much as O'Brien and Fleming would, so that early looks ask for much, and the last one for little more than a
study without looks does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy import optimize, special

_POINTS, _FURTHEST = 401, 9.0  # of the grid of the score process, in standard deviations
_ALPHAS = np.logspace(-8, 0, 41)[:-1]  # for which nominal levels are tabulated


@lru_cache
def nominal_levels(looks: tuple[int, ...], alpha: float) -> tuple[float, ...]:
    """The level of the two-sided test at each look, so that the chance of any false alarm is alpha.

    Args:
        looks: numbers of seeds, rising; the last is the whole plan.
        alpha: of all looks together.
    """
    fractions = np.array(looks) / looks[-1]
    spent = 4 * special.ndtr(special.ndtri(alpha / 4) / np.sqrt(fractions))
    levels: list[float] = []
    grid, density, before = np.zeros(1), np.ones(1), 0.0  # of the score, among the studies that go on
    for fraction, error in zip(fractions, np.diff(spent, prepend=0.0), strict=True):
        step = math.sqrt(fraction - before)

        furthest = _FURTHEST * math.sqrt(fraction)
        bound = furthest
        if error > _crossing(furthest, grid, density, step):
            bound = float(
                optimize.brentq(
                    lambda at, *path: _crossing(at, *path) - error,  # noqa: B023
                    0.0, furthest, args=(grid, density, step), xtol=1e-12,
                )
            )  # fmt: skip
        levels.append(float(2 * special.ndtr(-bound / math.sqrt(fraction))))
        ahead = np.linspace(-bound, bound, _POINTS)
        kernel = np.exp(-(((ahead[:, None] - grid) / step) ** 2) / 2) / (step * math.sqrt(2 * math.pi))
        density = kernel @ density
        density *= np.gradient(ahead)  # masses: the trapezoid's
        density[[0, -1]] /= 2
        grid, before = ahead, fraction
    return tuple(levels)


def _crossing(bound: float, grid: np.ndarray, density: np.ndarray, step: float) -> float:
    """The chance that the score is outside -bound to bound at the next look."""
    return float(density @ (special.ndtr((grid - bound) / step) + special.ndtr((-bound - grid) / step)))


def sequential_p(p_values: Sequence[float], looks: tuple[int, ...]) -> float:
    """The least alpha at which a look so far would have shown the difference (Liu and Anderson, 2008).

    It is a p value of all looks so far together, and never rises with further ones.

    Args:
        p_values: of the looks so far; nan where there was none.
        looks: all planned looks.
    """
    best = 1.0
    for p, levels in zip(p_values, _table(looks), strict=False):
        if not math.isnan(p):
            if p <= levels[0]:
                best = min(best, float(_ALPHAS[0]))
            elif p < levels[-1]:
                best = min(best, float(np.exp(np.interp(math.log(p), np.log(levels), np.log(_ALPHAS)))))
    return best


@lru_cache
def _table(looks: tuple[int, ...]) -> np.ndarray:
    return np.array([nominal_levels(looks, float(alpha)) for alpha in _ALPHAS]).T
