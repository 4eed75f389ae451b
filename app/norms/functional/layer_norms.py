"""LayerNorm, its detached variants and AdaNorm."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from app.norms.functional.kernels import BACKWARD, FORWARD, Shape, affine, over, rms_gradient, row_sum, undo_centring

_BATCH_NORM = torch.ops.aten.native_batch_norm.default
_BATCH_NORM_BACKWARD = torch.ops.aten.native_batch_norm_backward.default
_WIDE = 512  # number of features from which batch norm's kernel is faster; at 128 it is not


def layer_norm(x: Tensor, shape: Shape, eps: float, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """Compute weight * y + bias, either of which may be absent, by torch's kernel at its fastest."""
    return F.layer_norm(x, shape, *affine(x, shape, weight, bias), eps)


def detach_norm(x: Tensor, shape: Shape, eps: float) -> Tensor:
    """Compute y; mu and sigma are constant in backward, so g / sigma reaches x."""
    return _DetachBoth.apply(x, shape, eps)


def detach_mean(x: Tensor, shape: Shape, eps: float) -> Tensor:
    """Compute y; mu is constant in backward, so (g - y mean(g y)) / sigma reaches x."""
    return _DetachMean.apply(x, shape, eps)


def detach_variance(x: Tensor, shape: Shape, eps: float) -> Tensor:
    """Compute y; sigma is constant in backward, so (g - mean(g)) / sigma reaches x."""
    return _DetachVariance.apply(x, shape, eps)


def ada_norm(x: Tensor, shape: Shape, eps: float, k: float, scale: float) -> Tensor:
    """Compute scale (1 - k y) y; the factor before the last y is constant in backward."""
    return _AdaNorm.apply(x, shape, eps, k, scale)


class _DetachBoth(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: Shape, eps: float) -> Tensor:
        y, _, rstd = FORWARD(x, shape, *affine(x, shape), eps)
        ctx.save_for_backward(rstd)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        (rstd,) = ctx.saved_tensors
        return (g * rstd).to(g.dtype), None, None


class _DetachVariance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: Shape, eps: float) -> Tensor:
        y, _, rstd = FORWARD(x, shape, *affine(x, shape), eps)
        ctx.save_for_backward(rstd)
        ctx.shape = shape
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        (rstd,) = ctx.saved_tensors
        dx = g * rstd
        dx.sub_(row_sum(dx, ctx.shape), alpha=1 / math.prod(ctx.shape))
        return dx.to(g.dtype), None, None


class _DetachMean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: Shape, eps: float) -> Tensor:
        y, mean, rstd = FORWARD(x, shape, *affine(x, shape), eps)
        ctx.save_for_backward(x, mean, rstd)
        ctx.shape, ctx.eps = shape, eps
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, rstd = ctx.saved_tensors
        if torch.is_grad_enabled():  # aten's own double backward would differentiate mu
            return rms_gradient(g, x - mean, ctx.shape, ctx.eps)[0].to(x.dtype), None, None
        dx, g_sum = _layer_norm_gradient_and_sum(g, x, ctx.shape, mean, rstd)
        return undo_centring(dx, g_sum, rstd, ctx.shape), None, None


class _AdaNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: Shape, eps: float, k: float, scale: float) -> Tensor:
        y, mean, rstd = FORWARD(x, shape, *affine(x, shape), eps)
        ctx.save_for_backward(x, mean, rstd)
        ctx.shape, ctx.k, ctx.scale = shape, k, scale
        z = y.addcmul_(y, y, value=-k)
        return z if scale == 1 else z.mul_(scale)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, rstd = ctx.saved_tensors
        g_at_y = _times_ada_factor(g, x.detach(), ctx.shape, mean, rstd, ctx.k, ctx.scale).to(x.dtype)
        return _layer_norm_gradient(g_at_y, x, ctx.shape, mean, rstd), None, None, None, None


def _times_ada_factor(g: Tensor, x: Tensor, shape: Shape, mean: Tensor, rstd: Tensor, k: float, scale: float) -> Tensor:
    """Compute the gradient at y, g scale (1 - k y), with y recomputed from x.

    On CPU, the kernel of batch norm computes the factor, slope (x - mean) + scale, of wide rows in one pass over x:
    each row is a channel with running variance 1.
    """
    width = math.prod(shape)
    if not batch_norm_is_faster(x, mean, width):
        y = (x - mean).mul_(rstd)
        product = torch.addcmul(g, g, y, value=-k, out=over(y))
        return product if scale == 1 else product.mul_(scale)
    ones = torch.ones(mean.numel(), dtype=mean.dtype)
    rows, slope = x.reshape(1, mean.numel(), width), (rstd * (-k * scale)).reshape(-1)
    factor = _BATCH_NORM(rows, slope, ones * scale, mean.reshape(-1), ones, False, 0.0, 0.0)[0].view(x.shape)
    return torch.mul(factor, g, out=over(factor))


def _layer_norm_gradient(g: Tensor, x: Tensor, shape: Shape, mean: Tensor, rstd: Tensor) -> Tensor:
    """Compute (g - mean(g) - y mean(g y)) / sigma by aten's kernel."""
    ones = affine(x, shape)[0] if x.dtype != mean.dtype else None  # tells the CPU kernel of mixed precision
    return BACKWARD(g, x, shape, mean, rstd, ones, None, [True, False, False])[0]


def _layer_norm_gradient_and_sum(
    g: Tensor, x: Tensor, shape: Shape, mean: Tensor, rstd: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute the same, and the sum of g over each row.

    On CPU, the kernel of batch norm computes both for wide rows in one pass over g: each row is a channel.
    """
    width = math.prod(shape)
    if not batch_norm_is_faster(x, mean, width):
        return _layer_norm_gradient(g, x, shape, mean, rstd), row_sum(g, shape)
    rows = (1, mean.numel(), width)
    statistics = (mean.reshape(-1), rstd.reshape(-1))
    dx, _, g_sum = _BATCH_NORM_BACKWARD(
        g.reshape(rows), x.reshape(rows), None, None, None, *statistics, True, 0.0, [True, False, True]
    )
    return dx.view(x.shape), g_sum.view(mean.shape)


def batch_norm_is_faster(x: Tensor, mean: Tensor, width: int) -> bool:
    """Return whether batch norm's kernels accept the rows of x and are faster; they divide by a row's size."""
    return x.is_cpu and x.dtype == mean.dtype and width >= _WIDE and x.numel() > 0 and not torch.compiler.is_compiling()
