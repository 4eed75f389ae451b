"""The arithmetic of the norms as torch.autograd.Functions on aten's layer norm kernels.

Decisions:
- x and two numbers per row are saved for backward, as by F.layer_norm, or less. The output is never saved, so the next
  module may overwrite it in place, as a ReLU does after F.layer_norm. Steps write over their own memory where they can:
  on CPU a new tensor costs more than the arithmetic on it.
- On CPU the forward kernel is vectorised only with both gain and bias, and stores its statistics in half precision
  unless these are float32. So `affine` passes both, as ones and zeros where a norm has none: without them
  layernorm_simple takes a fifth longer, and gradients in bfloat16 are wrong in the second digit. GPUs need neither.
- Backward uses differentiable operations when autograd records it, so double backward is the derivative of the plain
  formula with its detached parts.
- The normalized dimensions are the last `len(shape)`; per-row statistics keep them with size 1 and so broadcast.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_FORWARD = torch.ops.aten.native_layer_norm.default
_BACKWARD = torch.ops.aten.native_layer_norm_backward.default
_BATCH_NORM = torch.ops.aten.native_batch_norm.default
_BATCH_NORM_BACKWARD = torch.ops.aten.native_batch_norm_backward.default
_WIDE = 512  # number of features from which batch norm's kernel is faster; at 128 it is not

Shape = tuple[int, ...]


def affine(
    x: Tensor, shape: Shape, weight: Tensor | None = None, bias: Tensor | None = None
) -> tuple[Tensor | None, Tensor | None]:
    """Return gain and bias as aten's kernel needs them: on CPU both, in the dtype of the statistics; else unchanged."""
    if not x.is_cpu:
        return weight, bias
    dtype = statistics_dtype(x)
    gain = torch.ones(shape, dtype=dtype) if weight is None else weight.to(dtype)
    return gain, torch.zeros(shape, dtype=dtype) if bias is None else bias.to(dtype)


def statistics_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype of mean and variance: float32, or float64 for float64."""
    return torch.promote_types(x.dtype, torch.float32)


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


def rms_norm(x: Tensor, shape: Shape, weight: Tensor, eps: float) -> Tensor:
    """Compute x / sqrt(mean(x^2) + eps) * weight, in x's dtype whatever weight's is."""
    if x.is_cpu:
        return _RMSNorm.apply(x, shape, weight, eps)  # F.rms_norm has no kernel for CPUs and takes 2 to 4 times as long
    dtype = torch.promote_types(x.dtype, weight.dtype)  # of unequal dtypes torch warns, and skips its fast kernel
    return F.rms_norm(x.to(dtype), shape, weight.to(dtype), eps).to(x.dtype)


def dynamic_tanh(x: Tensor, alpha: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute weight * tanh(alpha x) + bias, in x's dtype whatever the parameters' is."""
    return _DynamicTanh.apply(x, alpha, weight, bias)


class _DetachBoth(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: Shape, eps: float) -> Tensor:
        y, _, rstd = _FORWARD(x, shape, *affine(x, shape), eps)
        ctx.save_for_backward(rstd)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        (rstd,) = ctx.saved_tensors
        return (g * rstd).to(g.dtype), None, None


class _DetachVariance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: Shape, eps: float) -> Tensor:
        y, _, rstd = _FORWARD(x, shape, *affine(x, shape), eps)
        ctx.save_for_backward(rstd)
        ctx.shape = shape
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        (rstd,) = ctx.saved_tensors
        dx = g * rstd
        dx.sub_(_row_sum(dx, ctx.shape), alpha=1 / math.prod(ctx.shape))
        return dx.to(g.dtype), None, None


class _DetachMean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: Shape, eps: float) -> Tensor:
        y, mean, rstd = _FORWARD(x, shape, *affine(x, shape), eps)
        ctx.save_for_backward(x, mean, rstd)
        ctx.shape, ctx.eps = shape, eps
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, rstd = ctx.saved_tensors
        if torch.is_grad_enabled():  # aten's own double backward would differentiate mu
            return _rms_gradient(g, x - mean, ctx.shape, ctx.eps)[0].to(x.dtype), None, None
        dx, g_sum = _layer_norm_gradient_and_sum(g, x, ctx.shape, mean, rstd)
        return _undo_centring(dx, g_sum, rstd, ctx.shape), None, None


class _AdaNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: Shape, eps: float, k: float, scale: float) -> Tensor:
        y, mean, rstd = _FORWARD(x, shape, *affine(x, shape), eps)
        ctx.save_for_backward(x, mean, rstd)
        ctx.shape, ctx.k, ctx.scale = shape, k, scale
        z = y.addcmul_(y, y, value=-k)
        return z if scale == 1 else z.mul_(scale)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, rstd = ctx.saved_tensors
        g_at_y = _times_ada_factor(g, x.detach(), ctx.shape, mean, rstd, ctx.k, ctx.scale).to(x.dtype)
        return _layer_norm_gradient(g_at_y, x, ctx.shape, mean, rstd), None, None, None, None


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: Shape, weight: Tensor, eps: float) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=_dims(shape), keepdim=True, dtype=statistics_dtype(x))
        rstd = norm.square_().div_(math.prod(shape)).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, rstd)
        ctx.shape, ctx.eps = shape, eps
        return (x * rstd).mul_(weight).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, rstd = ctx.saved_tensors
        g, wide, gain = g.to(rstd.dtype), x.to(rstd.dtype), weight.to(rstd.dtype)
        if torch.is_grad_enabled():
            dx, y = _rms_gradient(g * gain, wide, ctx.shape, ctx.eps)
            dweight = _batch_sum(g * y, ctx.shape)
        else:  # rms norm is layer norm with mean 0, but its backward does not re-centre
            zeros = torch.zeros_like(rstd)
            dx, dweight, _ = _BACKWARD(g, wide, ctx.shape, zeros, rstd, gain, None, [True, True, False])
            _undo_centring(dx, _row_sum(g * gain, ctx.shape), rstd, ctx.shape)
        return dx.to(x.dtype), None, dweight.to(weight.dtype), None


class _DynamicTanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, alpha, weight)
        ctx.bias_dtype = bias.dtype
        dtype = torch.promote_types(statistics_dtype(x), weight.dtype)
        t = torch.mul(x.to(dtype), alpha.to(dtype)).tanh_()
        return torch.addcmul(bias.to(dtype), t, weight.to(dtype), out=_over(t)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, alpha, weight = ctx.saved_tensors
        dtype = torch.promote_types(statistics_dtype(x), weight.dtype)
        g, wide, slope, gain = g.to(dtype), x.to(dtype), alpha.to(dtype), weight.to(dtype)
        t = torch.tanh(wide * slope)  # recomputed: saving it next to x would save twice what LayerNorm does
        product = g * t
        dweight, dbias = _batch_sum(product, weight.shape), _batch_sum(g, weight.shape)
        du = torch.addcmul(g, product, t, value=-1, out=_over(product))  # g (1 - t^2)
        du = torch.mul(du, gain, out=_over(du))
        dalpha = torch.mul(du, wide, out=_over(t)).sum().reshape(alpha.shape)
        dx = torch.mul(du, slope, out=_over(du))
        return dx.to(x.dtype), dalpha.to(alpha.dtype), dweight.to(weight.dtype), dbias.to(ctx.bias_dtype)


def _over(t: Tensor) -> Tensor | None:
    """Return where a step may write its result: over t, or None if backward is recorded or a compiler plans memory."""
    return None if torch.is_grad_enabled() or torch.compiler.is_compiling() else t


def _dims(shape: Shape) -> list[int]:
    return list(range(-len(shape), 0))


def _batch_sum(t: Tensor, shape: Shape) -> Tensor:
    """Sum over all but the normalized dimensions, as the gradient of a gain or bias requires."""
    return t.reshape(-1, *shape).sum(0)


def _row_sum(t: Tensor, shape: Shape) -> Tensor:
    """Sum over the normalized dimensions, (..., 1); a sum and a factor are faster than a mean."""
    return t.sum(_dims(shape), keepdim=True, dtype=statistics_dtype(t))


def _times_ada_factor(g: Tensor, x: Tensor, shape: Shape, mean: Tensor, rstd: Tensor, k: float, scale: float) -> Tensor:
    """Compute the gradient at y, g scale (1 - k y), with y recomputed from x.

    On CPU, the kernel of batch norm computes the factor, slope (x - mean) + scale, of wide rows in one pass over x:
    each row is a channel with running variance 1.
    """
    width = math.prod(shape)
    if not _batch_norm_is_faster(x, mean, width):
        y = (x - mean).mul_(rstd)
        product = torch.addcmul(g, g, y, value=-k, out=_over(y))
        return product if scale == 1 else product.mul_(scale)
    ones = torch.ones(mean.numel(), dtype=mean.dtype)
    rows, slope = x.reshape(1, mean.numel(), width), (rstd * (-k * scale)).reshape(-1)
    factor = _BATCH_NORM(rows, slope, ones * scale, mean.reshape(-1), ones, False, 0.0, 0.0)[0].view(x.shape)
    return torch.mul(factor, g, out=_over(factor))


def _batch_norm_is_faster(x: Tensor, mean: Tensor, width: int) -> bool:
    """Return whether batch norm's kernels accept the rows of x and are faster; they divide by a row's size."""
    return x.is_cpu and x.dtype == mean.dtype and width >= _WIDE and x.numel() > 0 and not torch.compiler.is_compiling()


def _layer_norm_gradient(g: Tensor, x: Tensor, shape: Shape, mean: Tensor, rstd: Tensor) -> Tensor:
    """Compute (g - mean(g) - y mean(g y)) / sigma by aten's kernel."""
    ones = affine(x, shape)[0] if x.dtype != mean.dtype else None  # tells the CPU kernel of mixed precision
    return _BACKWARD(g, x, shape, mean, rstd, ones, None, [True, False, False])[0]


def _layer_norm_gradient_and_sum(
    g: Tensor, x: Tensor, shape: Shape, mean: Tensor, rstd: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute the same, and the sum of g over each row.

    On CPU, the kernel of batch norm computes both for wide rows in one pass over g: each row is a channel.
    """
    width = math.prod(shape)
    if not _batch_norm_is_faster(x, mean, width):
        return _layer_norm_gradient(g, x, shape, mean, rstd), _row_sum(g, shape)
    rows = (1, mean.numel(), width)
    statistics = (mean.reshape(-1), rstd.reshape(-1))
    dx, _, g_sum = _BATCH_NORM_BACKWARD(
        g.reshape(rows), x.reshape(rows), None, None, None, *statistics, True, 0.0, [True, False, True]
    )
    return dx.view(x.shape), g_sum.view(mean.shape)


def _undo_centring(dx: Tensor, g_sum: Tensor, rstd: Tensor, shape: Shape) -> Tensor:
    """Add mean(g) / sigma to dx in place."""
    return dx.add_(g_sum * rstd, alpha=1 / math.prod(shape))


def _rms_gradient(g: Tensor, x: Tensor, shape: Shape, eps: float) -> tuple[Tensor, Tensor]:
    """Compute (g - y mean(g y)) / rms(x) and y = x / rms(x), in operations that can be differentiated again."""
    dims = _dims(shape)
    rstd = (x.square().mean(dims, keepdim=True) + eps).rsqrt()
    y = x * rstd
    return rstd * (g - y * (g * y).mean(dims, keepdim=True)), y
