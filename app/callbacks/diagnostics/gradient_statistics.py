"""What a norm did to the gradient of each token that passed it, and how far that is from the paper's theorem.

All is over the H features of a token: with g the gradient at y = (x - mu) / sigma, dx the gradient at x, sigma^2 the
population variance of x plus the norm's eps (with it, the theorem's relations are exact):

    recentring  |mean(dx)| / rms(dx)            0 where mu has its derivative
    rescaling   var(dx) sigma^2 / var(g)        1 where sigma is detached, at most 1 where it has its derivative

The theorem (Xu et al. 2019, section 3):

    mean(dx) = mean(g) / sigma                  where mu is detached, else 0
    var(dx)  = var(g) / sigma^2                 where sigma is detached, else at most that

A violation is the distance from a relation, in units of the gradient without any derivative of mu and sigma: of
rms(g) / sigma for the mean, of its square for the variance. That is what rounding errors are proportional to.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from app.callbacks.diagnostics.norm_hooks import NormCall

STATISTICS = ("dy_mean", "dy_var", "dx_mean", "dx_var", "sigma", "recentring", "rescaling")
POWER_OF_SCALE = (1, 2, 1, 2, 0, 0, 0)  # of a factor on all gradients, in each statistic
VIOLATIONS = ("mean_violation", "variance_violation")


class RowStatistics(NamedTuple):
    """Statistics of N tokens."""

    values: Tensor  # (7, N), in the order of STATISTICS; nan where one is not defined
    violations: Tensor  # (2, N), in the order of VIOLATIONS; nan where the theorem does not speak


@torch.no_grad()
def row_statistics(norm_call: NormCall) -> RowStatistics:
    """The statistics of each token of a call, in float64: squares of gradients below 1e-19 underflow in float32."""
    norm, shape = norm_call.norm, (-1, *norm_call.norm.normalized_shape)
    x, dy, dx = norm_call.x.double(), norm_call.dy.double(), norm_call.dx.double()
    g = norm.gradient_at_y(dy.view(shape), x.view(shape)).view_as(dy)
    x_variance = x.var(-1, correction=0)
    g_variance, g_mean = torch.var_mean(g, -1, correction=0)
    dx_variance, dx_mean = torch.var_mean(dx, -1, correction=0)
    sigma = (x_variance + norm.eps).sqrt()
    recentring = dx_mean.abs() / (dx_variance + dx_mean.square()).sqrt()
    rescaling = dx_variance * sigma.square() / g_variance
    values = torch.stack([g_mean, g_variance, dx_mean, dx_variance, sigma, recentring, rescaling])
    values = values.masked_fill(~values.isfinite(), torch.nan)
    if norm.detaches_mean is None:
        return RowStatistics(values, torch.full_like(values[:2], torch.nan))
    unit = (g_variance + g_mean.square()).sqrt() / sigma
    mean_error = dx_mean - g_mean / sigma if norm.detaches_mean else dx_mean
    excess = dx_variance - g_variance / sigma.square()
    excess = excess.abs() if norm.detaches_sigma else excess.clamp(min=0)
    return RowStatistics(values, torch.stack([mean_error.abs() / unit, excess / unit.square()]))


class Moments:
    """Count, sum and sum of squares of statistics over tokens, and the largest violations; in float64."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(len(STATISTICS), 3, dtype=torch.float64, device=device)
        self.largest = torch.full((len(VIOLATIONS),), -torch.inf, dtype=torch.float64, device=device)

    def add(self, rows: RowStatistics) -> None:
        """Count some tokens."""
        values = rows.values
        known = values.nan_to_num(nan=0.0)
        self.sums += torch.stack([(~values.isnan()).sum(-1).double(), known.sum(-1), known.square().sum(-1)], -1)
        self.largest = torch.maximum(
            self.largest, rows.violations.nan_to_num(nan=-torch.inf, posinf=-torch.inf).amax(-1)
        )
