"""Bounded functions of each element, without statistics: weight * f(alpha x + shift) + bias."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from app.norms.functional.by_rows import by_rows
from app.norms.functional.kernels import tanh

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
    flat = None if bias is None else bias.flatten()
    if function == "tanh" and shift is None and x.is_cpu:
        return by_rows(_DynamicTanh, x, tuple(weight.shape), alpha, weight.flatten(), flat)
    return by_rows(_Pointwise, x, tuple(weight.shape), alpha, shift, weight.flatten(), flat, function=function)


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


class _Pointwise:
    @staticmethod
    def formula(
        x: Tensor, alpha: Tensor, shift: Tensor | None, weight: Tensor, bias: Tensor | None, function: str
    ) -> Tensor:
        t = _VALUES[function](alpha * x if shift is None else alpha * x + shift)
        return weight * t if bias is None else weight * t + bias

    @staticmethod
    def forward(
        x: Tensor, alpha: Tensor, shift: Tensor | None, weight: Tensor, bias: Tensor | None, function: str
    ) -> Tensor:
        t = _VALUES[function](_argument(x, alpha, shift)).mul_(weight)
        return t if bias is None else t.add_(bias)

    @staticmethod
    def backward(
        g: Tensor, x: Tensor, alpha: Tensor, shift: Tensor | None, weight: Tensor, bias: Tensor | None, function: str
    ) -> tuple[Tensor | None, ...]:
        t, du = FUNCTIONS[function](_argument(x, alpha, shift))
        dweight = t.mul_(g).sum(0)
        du = du.mul_(g).mul_(weight)
        dalpha = torch.vdot(du.view(-1), x.reshape(-1))
        dshift = None if shift is None else du.sum()
        return du.mul_(alpha), dalpha, dshift, dweight, None if bias is None else g.sum(0)


def _argument(x: Tensor, alpha: Tensor, shift: Tensor | None) -> Tensor:
    return x * alpha if shift is None else (x * alpha).add_(shift)


class _DynamicTanh:
    """tanh of CPUs by kernels that take a fraction of the time of its own: expm1 forward, sigmoid backward.

    tanh u = 2 s - 1 and its slope is 4 s (1 - s), s = sigmoid(2 u). Near 0 the first cancels, to 1e-7 of 1 in float32;
    so forward uses expm1, and the gradient of weight, a sum of g tanh u, is wrong by 1e-7 of the sum of g.
    """

    @staticmethod
    def formula(x: Tensor, alpha: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _Pointwise.formula(x, alpha, None, weight, bias, "tanh")

    @staticmethod
    def forward(x: Tensor, alpha: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _Pointwise.forward(x, alpha, None, weight, bias, "tanh")

    @staticmethod
    def backward(g: Tensor, x: Tensor, alpha: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor | None, ...]:
        s = (x * (2 * alpha)).sigmoid_()
        gs = g * s
        total = g.sum(0)
        dweight = gs.sum(0).mul_(2).sub_(total)
        du = s.mul_(gs).neg_().add_(gs).mul_(weight)  # a quarter of the gradient at u
        dalpha = torch.vdot(du.view(-1), x.reshape(-1)) * 4
        return du.mul_(4 * alpha), dalpha, dweight, None if bias is None else total
