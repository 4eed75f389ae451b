"""Bounded functions of each element, without statistics: weight * f(alpha x + shift) + bias."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from app.norms.functional.kernels import batch_sum, over, statistics_dtype, tanh

Slope = Callable[[Tensor], tuple[Tensor, Tensor]]


def pointwise(
    x: Tensor, function: str, alpha: Tensor, shift: Tensor | None, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """Compute weight * f(alpha x + shift) + bias, in x's dtype whatever the parameters' is.

    Args:
        x: (..., *shape).
        function: a key of `FUNCTIONS`.
        alpha: (1,).
        shift: (1,), or None for 0.
        weight: of shape `shape`.
        bias: of shape `shape`, or None for 0.
    """
    return _Pointwise.apply(x, alpha, shift, weight, bias, function)


def _tanh_slope(u: Tensor) -> tuple[Tensor, Tensor]:
    t = tanh(u)
    return t, 1 - t * t


def _erf_slope(u: Tensor) -> tuple[Tensor, Tensor]:
    return torch.erf(u), torch.exp(-u * u) * (2 / math.sqrt(math.pi))


def _isru_slope(u: Tensor) -> tuple[Tensor, Tensor]:
    root = torch.rsqrt(1 + u * u)
    return u * root, root.pow(3)


def _arctan_slope(u: Tensor) -> tuple[Tensor, Tensor]:
    return torch.atan(u) * (2 / math.pi), (2 / math.pi) / (1 + u * u)


def _expsign_slope(u: Tensor) -> tuple[Tensor, Tensor]:
    decay = torch.exp(-u.abs())
    return torch.sign(u) * (1 - decay), decay


def _cubsign_slope(u: Tensor) -> tuple[Tensor, Tensor]:
    square = u * u
    base = 1 / (square * u.abs() + 1)
    return square * u * base, 3 * square * base * base


def _relsign_slope(u: Tensor) -> tuple[Tensor, Tensor]:
    root = torch.sqrt(u * u + 1)
    return u / (root + 1), 1 / (root * (root + 1))


def _smoothsign_slope(u: Tensor) -> tuple[Tensor, Tensor]:
    base = 1 / (1 + u.abs())
    return u * base, base * base


def _linear_clip_slope(u: Tensor) -> tuple[Tensor, Tensor]:
    return u.clamp(-1, 1), (u.abs() <= 1).to(u.dtype)


def _saturlog_slope(u: Tensor) -> tuple[Tensor, Tensor]:
    size = u.abs()
    log = torch.log1p(size)
    base = 1 / (log + 1)
    return torch.sign(u) * log * base, base * base / (size + 1)


def _satursin_slope(u: Tensor) -> tuple[Tensor, Tensor]:
    clipped = u.clamp(-math.pi / 2, math.pi / 2)
    return torch.sin(clipped), torch.cos(clipped) * (clipped == u)


FUNCTIONS: Mapping[str, Slope] = {
    "tanh": _tanh_slope,
    "erf": _erf_slope,
    "isru": _isru_slope,
    "arctan": _arctan_slope,
    "expsign": _expsign_slope,
    "cubsign": _cubsign_slope,
    "relsign": _relsign_slope,
    "smoothsign": _smoothsign_slope,
    "linear_clip": _linear_clip_slope,
    "saturlog": _saturlog_slope,
    "satursin": _satursin_slope,
}
"""Each function and its slope, by name: from u to f(u) and f'(u). All are odd and bounded by -1 and 1."""

_VALUES: Mapping[str, Callable[[Tensor], Tensor]] = {
    **{name: lambda u, slope=slope: slope(u)[0] for name, slope in FUNCTIONS.items()},  # type: ignore[misc]
    "tanh": tanh,
    "erf": torch.erf,
}


class _Pointwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, alpha: Tensor, shift: Tensor | None, weight: Tensor, bias: Tensor | None, function: str
    ) -> Tensor:
        ctx.save_for_backward(x, alpha, shift, weight)
        ctx.bias_dtype, ctx.function = None if bias is None else bias.dtype, function
        dtype = torch.promote_types(statistics_dtype(x), weight.dtype)
        u = _argument(x, alpha, shift, dtype)
        t = _VALUES[function](u)
        if bias is None:
            return torch.mul(t, weight.to(dtype), out=over(t)).to(x.dtype)
        return torch.addcmul(bias.to(dtype), t, weight.to(dtype), out=over(t)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, alpha, shift, weight = ctx.saved_tensors
        dtype = torch.promote_types(statistics_dtype(x), weight.dtype)
        g, wide, slope = g.to(dtype), x.to(dtype), alpha.to(dtype)
        t, du = FUNCTIONS[ctx.function](_argument(x, alpha, shift, dtype))  # recomputed: kept, it would be a second x
        dweight = batch_sum(torch.mul(g, t, out=over(t)), weight.shape)
        dbias = None if ctx.bias_dtype is None else batch_sum(g, weight.shape).to(ctx.bias_dtype)
        du = torch.mul(du, g, out=over(du))
        du = torch.mul(du, weight.to(dtype), out=over(du))
        dalpha = torch.sum(du * wide) if torch.is_grad_enabled() else torch.vdot(du.reshape(-1), wide.reshape(-1))
        dshift = None if shift is None else du.sum().reshape(shift.shape).to(shift.dtype)
        dx = torch.mul(du, slope, out=over(du))
        return (
            *(dx.to(x.dtype), dalpha.reshape(alpha.shape).to(alpha.dtype), dshift),
            *(dweight.to(weight.dtype), dbias, None),
        )


def _argument(x: Tensor, alpha: Tensor, shift: Tensor | None, dtype: torch.dtype) -> Tensor:
    u = x.to(dtype) * alpha.to(dtype)
    if shift is None:
        return u
    return torch.add(u, shift.to(dtype), out=over(u))
