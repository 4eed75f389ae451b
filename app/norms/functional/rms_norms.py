"""RMSNorm and what has been made of it: x / rms(x), with a gain or a factor that depends on the data."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from app.norms.functional.by_rows import by_rows
from app.norms.functional.kernels import Shape, tanh


def rms_norm(x: Tensor, shape: Shape, weight: Tensor, eps: float) -> Tensor:
    """Compute x / sqrt(mean(x^2) + eps) * weight, in x's dtype whatever weight's is."""
    if x.is_cpu:
        return by_rows(
            _RMSNorm, x, shape, weight.flatten(), eps=eps
        )  # F.rms_norm has no kernel for CPUs and takes 2 to 4 times as long
    dtype = torch.promote_types(x.dtype, weight.dtype)  # of unequal dtypes torch warns, and skips its fast kernel
    return F.rms_norm(x.to(dtype), shape, weight.to(dtype), eps).to(x.dtype)


def detach_rms(x: Tensor, shape: Shape, weight: Tensor, eps: float) -> Tensor:
    """Compute weight * x / rms(x), rms(x) constant in backward, so weight * g / rms(x) reaches x."""
    return by_rows(_DetachRMS, x, shape, weight.flatten(), eps=eps)


def partial_rms_norm(x: Tensor, shape: Shape, weight: Tensor, eps: float, first: int) -> Tensor:
    """Compute weight * x / rms(the first features of x), of which there are `first`."""
    return by_rows(_PartialRMSNorm, x, shape, weight.flatten(), eps=eps, first=first)


def pre_affine_rms_norm(x: Tensor, shape: Shape, pre_weight: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Compute weight * u / rms(u), u = pre_weight * x."""
    return by_rows(_PreAffineRMSNorm, x, shape, pre_weight.flatten(), weight.flatten(), eps=eps)


def self_rescaled_norm(
    x: Tensor, shape: Shape, weight: Tensor, alpha: Tensor, beta: Tensor, eps: float, heads: int, detach: bool
) -> Tensor:
    """Compute (weight + alpha * tanh(x . beta)) * x / rms(x), with a dot product for each slice of features, a head.

    Where `detach` is true, tanh is constant in x in backward; beta still learns.
    """
    vectors = (weight.flatten(), alpha.flatten(), beta.flatten())
    return by_rows(_SelfRescaledNorm, x, shape, *vectors, eps=eps, heads=heads, detach=detach)


def gated_norm(x: Tensor, shape: Shape, weight: Tensor, down: Tensor, up: Tensor, eps: float) -> Tensor:
    """Compute y * sigmoid(up silu(down y)), y = weight * x / rms(x); down is (rank, H) and up is (H, rank)."""
    return by_rows(_GatedNorm, x, shape, weight.flatten(), down, up, eps=eps)


def bounded_tanh(x: Tensor, shape: Shape, weight: Tensor, scale: Tensor, eps: float) -> Tensor:
    """Compute weight * tanh(scale * x / rms(x)); scale is (1,)."""
    return by_rows(_BoundedTanh, x, shape, weight.flatten(), scale, eps=eps)


def _inverse_rms(x: Tensor, eps: float) -> Tensor:
    """Compute 1 / sqrt(mean(x^2) + eps) of rows, (N, 1), as formulas have it."""
    return (x.square().mean(-1, keepdim=True) + eps).rsqrt()


def _fast_inverse_rms(x: Tensor, eps: float) -> Tensor:
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()


def _row_dot(a: Tensor, b: Tensor) -> Tensor:
    """Compute the dot product of each row, (N, 1); of (N, heads, H / heads), of each head, (N, heads, 1)."""
    return torch.linalg.vecdot(a, b).unsqueeze(-1)


def _through_rms(g: Tensor, x: Tensor, rstd: Tensor) -> Tensor:
    """Compute the gradient of rows x / rms(x) from that of the quotient; written over g."""
    mean = _row_dot(g, x).mul_(rstd.pow(3)).div_(x.shape[-1])
    return g.mul_(rstd).addcmul_(x, mean, value=-1)


def _heads(t: Tensor, heads: int) -> Tensor:
    """Cut the features of rows into heads: (N, H) to (N, heads, H / heads)."""
    return t.unflatten(-1, (heads, -1))


class _RMSNorm:
    @staticmethod
    def formula(x: Tensor, weight: Tensor, eps: float) -> Tensor:
        return weight * x * _inverse_rms(x, eps)

    @staticmethod
    def forward(x: Tensor, weight: Tensor, eps: float) -> Tensor:
        return (x * _fast_inverse_rms(x, eps)).mul_(weight)

    @staticmethod
    def backward(g: Tensor, x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, ...]:
        rstd = _fast_inverse_rms(x, eps)
        dweight = (x * rstd).mul_(g).sum(0)
        return _through_rms(g * weight, x, rstd), dweight


class _DetachRMS:
    @staticmethod
    def formula(x: Tensor, weight: Tensor, eps: float) -> Tensor:
        return weight * x * _inverse_rms(x, eps).detach()

    @staticmethod
    def forward(x: Tensor, weight: Tensor, eps: float) -> Tensor:
        return _RMSNorm.forward(x, weight, eps)

    @staticmethod
    def backward(g: Tensor, x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, ...]:
        at_y = g * _fast_inverse_rms(x, eps)
        dweight = (at_y * x).sum(0)
        return at_y.mul_(weight), dweight


class _PartialRMSNorm:
    @staticmethod
    def formula(x: Tensor, weight: Tensor, eps: float, first: int) -> Tensor:
        return weight * x * _inverse_rms(x[:, :first], eps)

    @staticmethod
    def forward(x: Tensor, weight: Tensor, eps: float, first: int) -> Tensor:
        return (x * _fast_inverse_rms(x[:, :first], eps)).mul_(weight)

    @staticmethod
    def backward(g: Tensor, x: Tensor, weight: Tensor, eps: float, first: int) -> tuple[Tensor, ...]:
        rstd = _fast_inverse_rms(x[:, :first], eps)
        dx = g * rstd
        dweight = (dx * x).sum(0)
        through_rms = _row_dot(dx.mul_(weight), x).mul_(rstd.square()).div_(first)
        dx[:, :first].addcmul_(x[:, :first], through_rms, value=-1)
        return dx, dweight


class _PreAffineRMSNorm:
    @staticmethod
    def formula(x: Tensor, pre_weight: Tensor, weight: Tensor, eps: float) -> Tensor:
        return _RMSNorm.formula(pre_weight * x, weight, eps)

    @staticmethod
    def forward(x: Tensor, pre_weight: Tensor, weight: Tensor, eps: float) -> Tensor:
        u = x * pre_weight
        return u.mul_(_fast_inverse_rms(u, eps)).mul_(weight)

    @staticmethod
    def backward(g: Tensor, x: Tensor, pre_weight: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, ...]:
        du, dweight = _RMSNorm.backward(g, x * pre_weight, weight, eps)
        dpre_weight = (du * x).sum(0)
        return du.mul_(pre_weight), dpre_weight, dweight


class _SelfRescaledNorm:
    @staticmethod
    def formula(x: Tensor, weight: Tensor, alpha: Tensor, beta: Tensor, eps: float, heads: int, detach: bool) -> Tensor:
        t = torch.tanh(_row_dot(_heads(x.detach() if detach else x, heads), _heads(beta, heads)))
        return (weight + (_heads(alpha, heads) * t).flatten(1)) * x * _inverse_rms(x, eps)

    @staticmethod
    def forward(x: Tensor, weight: Tensor, alpha: Tensor, beta: Tensor, eps: float, heads: int, detach: bool) -> Tensor:
        t = _row_dot(_heads(x, heads), _heads(beta, heads)).tanh_()  # (N, heads, 1)
        factor = torch.addcmul(_heads(weight, heads), _heads(alpha, heads), t).flatten(1)
        return factor.mul_(x).mul_(_fast_inverse_rms(x, eps))

    @staticmethod
    def backward(
        g: Tensor, x: Tensor, weight: Tensor, alpha: Tensor, beta: Tensor, eps: float, heads: int, detach: bool
    ) -> tuple[Tensor, ...]:
        rstd = _fast_inverse_rms(x, eps)
        t = _row_dot(_heads(x, heads), _heads(beta, heads)).tanh_()
        product = _heads((g * x).mul_(rstd), heads)  # g y
        dweight = product.sum(0).flatten()
        dz = _row_dot(product, _heads(alpha, heads)).mul_(1 - t * t)  # the gradient at x . beta
        dalpha = product.mul_(t).sum(0).flatten()
        factor = torch.addcmul(_heads(weight, heads), _heads(alpha, heads), t).flatten(1)
        dx = _through_rms(factor.mul_(g), x, rstd)
        dbeta = torch.mul(dz, _heads(x, heads), out=product).sum(0).flatten()
        if not detach:
            _heads(dx, heads).addcmul_(dz, _heads(beta, heads))
        return dx, dweight, dalpha, dbeta


class _GatedNorm:
    @staticmethod
    def formula(x: Tensor, weight: Tensor, down: Tensor, up: Tensor, eps: float) -> Tensor:
        y = weight * x * _inverse_rms(x, eps)
        return y * torch.sigmoid(F.silu(y @ down.T) @ up.T)

    @staticmethod
    def forward(x: Tensor, weight: Tensor, down: Tensor, up: Tensor, eps: float) -> Tensor:
        y = _RMSNorm.forward(x, weight, eps)
        return (F.silu(y @ down.T) @ up.T).sigmoid_().mul_(y)

    @staticmethod
    def backward(g: Tensor, x: Tensor, weight: Tensor, down: Tensor, up: Tensor, eps: float) -> tuple[Tensor, ...]:
        rstd = _fast_inverse_rms(x, eps)
        normalized = x * rstd
        y = normalized * weight
        before = y @ down.T  # (N, rank)
        squashed = torch.sigmoid(before)
        hidden = before * squashed
        gate = (hidden @ up.T).sigmoid_()
        dy = g * gate
        dgate = gate.neg_().add_(1).mul_(dy).mul_(y)
        dup = dgate.T @ hidden
        dbefore = (dgate @ up).mul_(squashed * (1 + before * (1 - squashed)))
        ddown = dbefore.T @ y
        dy.addmm_(dbefore, down)
        dweight = normalized.mul_(dy).sum(0)
        return _through_rms(dy.mul_(weight), x, rstd), dweight, ddown, dup


class _BoundedTanh:
    @staticmethod
    def formula(x: Tensor, weight: Tensor, scale: Tensor, eps: float) -> Tensor:
        return weight * torch.tanh(scale * x * _inverse_rms(x, eps))

    @staticmethod
    def forward(x: Tensor, weight: Tensor, scale: Tensor, eps: float) -> Tensor:
        return tanh(x * (_fast_inverse_rms(x, eps) * scale)).mul_(weight)

    @staticmethod
    def backward(g: Tensor, x: Tensor, weight: Tensor, scale: Tensor, eps: float) -> tuple[Tensor, ...]:
        rstd = _fast_inverse_rms(x, eps)
        t = tanh(x * (rstd * scale))
        dweight = (g * t).sum(0)
        du = t.square_().neg_().add_(1).mul_(g).mul_(weight)
        dscale = (_row_dot(du, x) * rstd).sum()
        return _through_rms(du.mul_(scale), x, rstd), dweight, dscale
