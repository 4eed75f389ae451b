"""aten's layer norm kernels, and the small steps that the norms' forward and backward share."""

from __future__ import annotations

import math

import torch
from torch import Tensor

FORWARD = torch.ops.aten.native_layer_norm.default
BACKWARD = torch.ops.aten.native_layer_norm_backward.default

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


def over(t: Tensor) -> Tensor | None:
    """Return where a step may write its result: over t, or None if backward is recorded or a compiler plans memory."""
    return None if torch.is_grad_enabled() or torch.compiler.is_compiling() else t


def tanh(u: Tensor) -> Tensor:
    """Compute tanh; on CPU by expm1, a faster kernel, to a relative error of 2e-7 in float32."""
    if not u.is_cpu or torch.compiler.is_compiling() or torch.is_grad_enabled():
        return torch.tanh(u)
    e = (2 * u).clamp_(max=40.0).expm1_()  # tanh is 1 to the last bit from there on, and expm1 is finite
    return e.div_(e + 2)


def dims(shape: Shape) -> list[int]:
    """Return the normalized dimensions, counted from the last."""
    return list(range(-len(shape), 0))


def row_sum(t: Tensor, shape: Shape) -> Tensor:
    """Sum over the normalized dimensions, (..., 1); a sum and a factor are faster than a mean."""
    return t.sum(dims(shape), keepdim=True, dtype=statistics_dtype(t))


def undo_centring(dx: Tensor, g_sum: Tensor, rstd: Tensor, shape: Shape) -> Tensor:
    """Add mean(g) / sigma to dx in place."""
    return dx.add_(g_sum * rstd, alpha=1 / math.prod(shape))


def rms_gradient(g: Tensor, x: Tensor, shape: Shape, eps: float) -> tuple[Tensor, Tensor]:
    """Compute (g - y mean(g y)) / rms(x) and y = x / rms(x), in operations that can be differentiated again."""
    rstd = (x.square().mean(dims(shape), keepdim=True) + eps).rsqrt()
    y = x * rstd
    return rstd * (g - y * (g * y).mean(dims(shape), keepdim=True)), y
