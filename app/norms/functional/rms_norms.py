"""RMSNorm and what has been made of it: x / rms(x), with a gain or a factor that depends on the data.

Functions that have a `formula` compute their gradients by hand, from the rows of x; the formula is what these are the
derivative of, and what double backward differentiates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from app.norms.functional.kernels import (
    BACKWARD,
    Shape,
    as_output,
    batch_sum,
    differentiate,
    dims,
    reciprocal_rms,
    rms_backward,
    rms_gradient,
    row_dot,
    row_sum,
    rows,
    statistics_dtype,
    tanh,
    undo_centring,
    without_autocast,
)


def rms_norm(x: Tensor, shape: Shape, weight: Tensor, eps: float) -> Tensor:
    """Compute x / sqrt(mean(x^2) + eps) * weight, in x's dtype whatever weight's is."""
    if x.is_cpu:
        return _RMSNorm.apply(x, shape, weight, eps)  # F.rms_norm has no kernel for CPUs and takes 2 to 4 times as long
    dtype = torch.promote_types(x.dtype, weight.dtype)  # of unequal dtypes torch warns, and skips its fast kernel
    return F.rms_norm(x.to(dtype), shape, weight.to(dtype), eps).to(x.dtype)


def detach_rms(x: Tensor, shape: Shape, weight: Tensor, eps: float) -> Tensor:
    """Compute weight * x / rms(x), rms(x) constant in backward, so weight * g / rms(x) reaches x."""
    return _DetachRMS.apply(x, shape, weight, eps)


def partial_rms_norm(x: Tensor, shape: Shape, weight: Tensor, eps: float, first: int) -> Tensor:
    """Compute weight * x / rms(the first features of x), of which there are `first`."""
    return _PartialRMSNorm.apply(x, shape, weight, eps, first)


def pre_affine_rms_norm(x: Tensor, shape: Shape, pre_weight: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Compute weight * u / rms(u), u = pre_weight * x."""
    return _PreAffineRMSNorm.apply(x, shape, pre_weight, weight, eps)


def self_rescaled_norm(
    x: Tensor, shape: Shape, weight: Tensor, alpha: Tensor, beta: Tensor, eps: float, heads: int, detach: bool
) -> Tensor:
    """Compute (weight + alpha * tanh(x . beta)) * x / rms(x), with a dot product for each slice of features, a head.

    Where `detach` is true, tanh is constant in x in backward; beta still learns.
    """
    return _SelfRescaledNorm.apply(x, shape, weight, alpha, beta, eps, heads, detach)


def gated_norm(x: Tensor, shape: Shape, weight: Tensor, down: Tensor, up: Tensor, eps: float) -> Tensor:
    """Compute y * sigmoid(up silu(down y)), y = weight * x / rms(x); down is (rank, H) and up is (H, rank)."""
    return _GatedNorm.apply(x, shape, weight, down, up, eps)


def bounded_tanh(x: Tensor, shape: Shape, weight: Tensor, scale: Tensor, eps: float) -> Tensor:
    """Compute weight * tanh(scale * x / rms(x)); scale is (1,)."""
    return _BoundedTanh.apply(x, shape, weight, scale, eps)


def _like(rows_or_row: Tensor, like: Tensor) -> Tensor:
    """Return a gradient in the shape and dtype of what it is the gradient of."""
    return rows_or_row.reshape(like.shape).to(like.dtype)


def _split(t: Tensor, heads: int) -> Tensor:
    """Cut the features of rows into heads: (N, H) to (N, heads, H / heads)."""
    return t.unflatten(-1, (heads, -1))


def _differentiate(
    formula: Callable[..., Tensor], shape: Shape, x: Tensor, parameters: tuple[Tensor, ...], g: Tensor, *constants: Any
) -> list[Tensor | None]:
    """Compute the gradients of a formula of rows, in x and the parameters, so that they can be differentiated again."""

    def whole(x: Tensor, *parameters: Tensor) -> Tensor:
        flat = (_flat(p, shape).to(statistics_dtype(x)) for p in parameters)
        return formula(rows(x, shape), *flat, *constants).view(x.shape).to(x.dtype)

    return differentiate(whole, (x, *parameters), g)


def _flat(parameter: Tensor, shape: Shape) -> Tensor:
    return parameter.flatten() if tuple(parameter.shape) == shape else parameter


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: Shape, weight: Tensor, eps: float) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=dims(shape), keepdim=True, dtype=statistics_dtype(x))
        rstd = norm.square_().div_(math.prod(shape)).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, rstd)
        ctx.shape, ctx.eps = shape, eps
        return (x * rstd).mul_(weight).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, rstd = ctx.saved_tensors
        g, wide, gain = g.to(rstd.dtype), x.to(rstd.dtype), weight.to(rstd.dtype)
        if torch.is_grad_enabled():
            dx, y = rms_gradient(g * gain, wide, ctx.shape, ctx.eps)
            dweight = batch_sum(g * y, ctx.shape)
        else:  # rms norm is layer norm with mean 0, but its backward does not re-centre
            zeros = torch.zeros_like(rstd)
            dx, dweight, _ = BACKWARD(g, wide, ctx.shape, zeros, rstd, gain, None, [True, True, False])
            undo_centring(dx, row_sum(g * gain, ctx.shape), rstd, ctx.shape)
        return dx.to(x.dtype), None, dweight.to(weight.dtype), None


class _DetachRMS(torch.autograd.Function):
    @staticmethod
    def formula(x: Tensor, weight: Tensor, eps: float) -> Tensor:
        return weight * x * (x.square().mean(-1, keepdim=True) + eps).rsqrt().detach()

    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: Shape, weight: Tensor, eps: float) -> Tensor:
        wide = rows(x, shape)
        rstd = reciprocal_rms(wide, eps)
        ctx.save_for_backward(x, weight, rstd)
        ctx.shape, ctx.eps = shape, eps
        return as_output((wide * rstd).mul_(rows(weight, shape)), x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, rstd = ctx.saved_tensors
        if torch.is_grad_enabled():
            dx, dweight = _differentiate(_DetachRMS.formula, ctx.shape, x, (weight,), g, ctx.eps)
            return dx, None, dweight, None
        wide, g = rows(x, ctx.shape), rows(g, ctx.shape) * rstd
        dweight = (g * wide).sum(0)
        return _like(g.mul_(rows(weight, ctx.shape)), x), None, _like(dweight, weight), None


class _PartialRMSNorm(torch.autograd.Function):
    @staticmethod
    def formula(x: Tensor, weight: Tensor, eps: float, first: int) -> Tensor:
        return weight * x * (x[:, :first].square().mean(-1, keepdim=True) + eps).rsqrt()

    @staticmethod
    @without_autocast
    def forward(ctx: Any, x: Tensor, shape: Shape, weight: Tensor, eps: float, first: int) -> Tensor:
        wide = rows(x, shape)
        rstd = reciprocal_rms(wide[:, :first], eps)
        ctx.save_for_backward(x, weight, rstd)
        ctx.shape, ctx.eps, ctx.first = shape, eps, first
        return as_output((wide * rstd).mul_(rows(weight, shape)), x)

    @staticmethod
    @without_autocast
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, rstd = ctx.saved_tensors
        if torch.is_grad_enabled():
            dx, dweight = _differentiate(_PartialRMSNorm.formula, ctx.shape, x, (weight,), g, ctx.eps, ctx.first)
            return dx, None, dweight, None, None
        wide, g = rows(x, ctx.shape), rows(g, ctx.shape) * rstd
        dweight = (g * wide).sum(0)
        dx = g.mul_(rows(weight, ctx.shape))
        through_rms = row_dot(dx, wide).mul_(rstd.square()).div_(ctx.first)
        dx[:, : ctx.first].addcmul_(wide[:, : ctx.first], through_rms, value=-1)
        return _like(dx, x), None, _like(dweight, weight), None, None


class _PreAffineRMSNorm(torch.autograd.Function):
    @staticmethod
    def formula(x: Tensor, pre_weight: Tensor, weight: Tensor, eps: float) -> Tensor:
        u = pre_weight * x
        return weight * u * (u.square().mean(-1, keepdim=True) + eps).rsqrt()

    @staticmethod
    @without_autocast
    def forward(ctx: Any, x: Tensor, shape: Shape, pre_weight: Tensor, weight: Tensor, eps: float) -> Tensor:
        u = rows(x, shape) * rows(pre_weight, shape)
        rstd = reciprocal_rms(u, eps)
        ctx.save_for_backward(x, pre_weight, weight, rstd)
        ctx.shape, ctx.eps = shape, eps
        return as_output(u.mul_(rstd).mul_(rows(weight, shape)), x)

    @staticmethod
    @without_autocast
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, pre_weight, weight, rstd = ctx.saved_tensors
        if torch.is_grad_enabled():
            found = _differentiate(_PreAffineRMSNorm.formula, ctx.shape, x, (pre_weight, weight), g, ctx.eps)
            return found[0], None, found[1], found[2], None
        wide, g, before = rows(x, ctx.shape), rows(g, ctx.shape), rows(pre_weight, ctx.shape)
        u = wide * before
        dweight = (g * u).mul_(rstd).sum(0)
        du = rms_backward(g * rows(weight, ctx.shape), u, rstd)
        dpre_weight = torch.mul(du, wide, out=u).sum(0)
        return _like(du.mul_(before), x), None, _like(dpre_weight, pre_weight), _like(dweight, weight), None


class _SelfRescaledNorm(torch.autograd.Function):
    @staticmethod
    def formula(x: Tensor, weight: Tensor, alpha: Tensor, beta: Tensor, eps: float, heads: int, detach: bool) -> Tensor:
        t = torch.tanh(
            row_dot((x.detach() if detach else x).unflatten(-1, (heads, -1)), beta.unflatten(-1, (heads, -1)))
        )
        factor = weight + (alpha.unflatten(-1, (heads, -1)) * t).flatten(-2)
        return factor * x * (x.square().mean(-1, keepdim=True) + eps).rsqrt()

    @staticmethod
    @without_autocast
    def forward(
        ctx: Any,
        x: Tensor,
        shape: Shape,
        weight: Tensor,
        alpha: Tensor,
        beta: Tensor,
        eps: float,
        heads: int,
        detach: bool,
    ) -> Tensor:
        wide = rows(x, shape)
        rstd = reciprocal_rms(wide, eps)
        t = row_dot(_split(wide, heads), _split(rows(beta, shape), heads)).tanh_()  # (N, heads, 1)
        ctx.save_for_backward(x, weight, alpha, beta, rstd, t)
        ctx.shape, ctx.eps, ctx.heads, ctx.detach = shape, eps, heads, detach
        factor = torch.addcmul(_split(rows(weight, shape), heads), _split(rows(alpha, shape), heads), t).flatten(1)
        return as_output(factor.mul_(wide).mul_(rstd), x)

    @staticmethod
    @without_autocast
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, alpha, beta, rstd, t = ctx.saved_tensors
        shape, heads = ctx.shape, ctx.heads
        if torch.is_grad_enabled():
            found = _differentiate(
                _SelfRescaledNorm.formula, shape, x, (weight, alpha, beta), g, ctx.eps, heads, ctx.detach
            )
            return found[0], None, *found[1:], None, None, None
        wide, g = rows(x, shape), rows(g, shape)
        gain, reach = _split(rows(weight, shape), heads), _split(rows(alpha, shape), heads)
        product = _split(torch.mul(g, wide).mul_(rstd), heads)  # g y
        dweight = product.sum(0)
        dz = row_dot(product, reach).mul_(1 - t * t)  # the gradient at x . beta
        dalpha = product.mul_(t).sum(0)
        dx = rms_backward(torch.addcmul(gain, reach, t).flatten(1).mul_(g), wide, rstd)
        dbeta = torch.einsum("nh,nhd->hd", dz.squeeze(-1), _split(wide, heads))
        if not ctx.detach:
            _split(dx, heads).addcmul_(dz, _split(rows(beta, shape), heads))
        return (
            *(_like(dx, x), None, _like(dweight, weight), _like(dalpha, alpha), _like(dbeta, beta)),
            *(None, None, None),
        )


class _GatedNorm(torch.autograd.Function):
    @staticmethod
    def formula(x: Tensor, weight: Tensor, down: Tensor, up: Tensor, eps: float) -> Tensor:
        y = weight * x * (x.square().mean(-1, keepdim=True) + eps).rsqrt()
        return y * torch.sigmoid(F.silu(y @ down.T) @ up.T)

    @staticmethod
    @without_autocast
    def forward(ctx: Any, x: Tensor, shape: Shape, weight: Tensor, down: Tensor, up: Tensor, eps: float) -> Tensor:
        wide = rows(x, shape)
        rstd = reciprocal_rms(wide, eps)
        ctx.save_for_backward(x, weight, down, up, rstd)
        ctx.shape, ctx.eps = shape, eps
        y = (wide * rstd).mul_(rows(weight, shape))
        gate = F.silu(y @ down.to(y.dtype).T) @ up.to(y.dtype).T
        return as_output(gate.sigmoid_().mul_(y), x)

    @staticmethod
    @without_autocast
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, down, up, rstd = ctx.saved_tensors
        if torch.is_grad_enabled():
            found = _differentiate(_GatedNorm.formula, ctx.shape, x, (weight, down, up), g, ctx.eps)
            return found[0], None, *found[1:], None
        wide, g, gain = rows(x, ctx.shape), rows(g, ctx.shape), rows(weight, ctx.shape)
        lower, upper = down.to(wide.dtype), up.to(wide.dtype)
        normalized = wide * rstd
        y = normalized * gain
        before = y @ lower.T  # (N, rank)
        squashed = torch.sigmoid(before)
        hidden = before * squashed
        gate = (hidden @ upper.T).sigmoid_()
        dy = g * gate
        dgate = (1 - gate).mul_(dy).mul_(y)
        dup = dgate.T @ hidden
        dbefore = (dgate @ upper).mul_(squashed * (1 + before * (1 - squashed)))
        ddown = dbefore.T @ y
        dy.addmm_(dbefore, lower)
        dweight = normalized.mul_(dy).sum(0)
        dx = rms_backward(dy.mul_(gain), wide, rstd)
        return _like(dx, x), None, _like(dweight, weight), ddown.to(down.dtype), dup.to(up.dtype), None


class _BoundedTanh(torch.autograd.Function):
    @staticmethod
    def formula(x: Tensor, weight: Tensor, scale: Tensor, eps: float) -> Tensor:
        return weight * torch.tanh(scale * x * (x.square().mean(-1, keepdim=True) + eps).rsqrt())

    @staticmethod
    @without_autocast
    def forward(ctx: Any, x: Tensor, shape: Shape, weight: Tensor, scale: Tensor, eps: float) -> Tensor:
        wide = rows(x, shape)
        rstd = reciprocal_rms(wide, eps)
        ctx.save_for_backward(x, weight, scale, rstd)
        ctx.shape, ctx.eps = shape, eps
        return as_output(tanh(wide * (rstd * scale)).mul_(rows(weight, shape)), x)

    @staticmethod
    @without_autocast
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale, rstd = ctx.saved_tensors
        if torch.is_grad_enabled():
            dx, dweight, dscale = _differentiate(_BoundedTanh.formula, ctx.shape, x, (weight, scale), g, ctx.eps)
            return dx, None, dweight, dscale, None
        wide, g = rows(x, ctx.shape), rows(g, ctx.shape)
        t = tanh(wide * (rstd * scale))
        dweight = (g * t).sum(0)
        du = t.square_().neg_().add_(1).mul_(g).mul_(rows(weight, ctx.shape))
        dscale = (row_dot(du, wide) * rstd).sum().reshape(scale.shape)
        dx = rms_backward(du.mul_(scale), wide, rstd)
        return _like(dx, x), None, _like(dweight, weight), dscale.to(scale.dtype), None
