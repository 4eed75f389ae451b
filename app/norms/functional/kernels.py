"""aten's layer norm kernels, and the small steps that the norms' forward and backward share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

FORWARD = torch.ops.aten.native_layer_norm.default
BACKWARD = torch.ops.aten.native_layer_norm_backward.default

Shape = tuple[int, ...]
Result = TypeVar("Result")


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
    """Compute tanh; on CPU by expm1, which takes a third of the time and is as exact."""
    if not u.is_cpu or torch.compiler.is_compiling() or torch.is_grad_enabled():
        return torch.tanh(u)
    e = (2 * u).clamp_(max=40.0).expm1_()  # tanh is 1 to the last bit from there on, and expm1 is finite
    return e.div_(e + 2)


def dims(shape: Shape) -> list[int]:
    """Return the normalized dimensions, counted from the last."""
    return list(range(-len(shape), 0))


def batch_sum(t: Tensor, shape: Shape) -> Tensor:
    """Sum over all but the normalized dimensions, as the gradient of a gain or bias requires."""
    return t.reshape(-1, *shape).sum(0)


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


def rows(t: Tensor, shape: Shape) -> Tensor:
    """Return t as rows of H features, (N, H), in the dtype of the statistics."""
    return t.reshape(-1, math.prod(shape)).to(statistics_dtype(t))


def as_output(t: Tensor, x: Tensor) -> Tensor:
    """Return rows in the shape and dtype of x; not a view, which the next module could not overwrite in place."""
    return torch.ops.aten._unsafe_view.default(t, x.shape).to(x.dtype)


def without_autocast(step: Callable[..., Result]) -> Callable[..., Result]:
    """Make a forward or backward compute in the dtypes that it is given, as autocast would have layer norm do."""

    def run(ctx: Any, x: Tensor, *rest: Any) -> Result:
        with torch.autocast(x.device.type, enabled=False):
            return step(ctx, x, *rest)

    return run


def row_dot(a: Tensor, b: Tensor) -> Tensor:
    """Compute the dot product of each row, (N, 1); of (N, heads, H / heads), of each head, (N, heads, 1)."""
    return torch.linalg.vecdot(a, b.to(a.dtype)).unsqueeze(-1)


def reciprocal_rms(x: Tensor, eps: float) -> Tensor:
    """Compute 1 / sqrt(mean(x^2) + eps) of rows, (N, 1)."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()


def rms_backward(g: Tensor, x: Tensor, rstd: Tensor) -> Tensor:
    """Compute the gradient of rows x / rms(x) from that of the quotient; written over g."""
    mean = row_dot(g, x).mul_(rstd.pow(3)).div_(x.shape[-1])
    return g.mul_(rstd).addcmul_(x, mean, value=-1)


def differentiate(formula: Callable[..., Tensor], inputs: Sequence[Tensor], g: Tensor) -> list[Tensor | None]:
    """Compute the gradients of a plain formula so that they can be differentiated again, as double backward needs.

    Args:
        formula: from the inputs to the output.
        inputs: what backward saved.
        g: the gradient at the output.
    """
    wanted = [t for t in inputs if t.requires_grad]
    found = iter(torch.autograd.grad(formula(*inputs), wanted, g, create_graph=True))
    return [next(found) if t.requires_grad else None for t in inputs]
