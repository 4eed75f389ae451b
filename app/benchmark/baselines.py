"""What the norms are timed against: torch's layer norm, plain formulas, the authors' code, a copy.

All are modules over the last dimension; options have their defaults.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import torch
from torch import Tensor, nn

from app.norms import build_norm, norm_names

REFERENCE = "F.layer_norm, gain and bias"
_K, _EPS = 0.1, 1e-5


class Plain(nn.Module):
    """A formula as it is written on paper, with gradients by autograd."""

    def __init__(self, formula: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.formula = formula

    def forward(self, x: Tensor) -> Tensor:
        """Apply the formula to x, (..., H)."""
        return self.formula(x)


def baselines(size: int, device: str) -> dict[str, nn.Module]:
    """Return all modules to compare, by name, with the reference first.

    Args:
        size: H, the last dimension.
        device: cpu or cuda; some modules exist on a GPU only.
    """
    found: dict[str, nn.Module] = {REFERENCE: nn.LayerNorm(size, eps=_EPS)}
    found |= {name: build_norm(name, size) for name in norm_names()}
    found |= {f"{name}, {kind}": Plain(formula) for kind, formulas in _FORMULAS.items() for name, formula in formulas}
    found["copy (the limit of memory)"] = Plain(_Copy.apply)
    found |= _of_a_gpu(size) if device == "cuda" else {}
    return {name: module.to(device) for name, module in found.items()}


def _standardized(x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + _EPS).sqrt()


def plain_adanorm(x: Tensor) -> Tensor:
    """Compute (1 - k y) y, the factor constant in backward. Xu et al. 2019, section 4."""
    y = _standardized(x)
    return (1 - _K * y).detach() * y


def plain_detachnorm(x: Tensor) -> Tensor:
    """Compute y, with mu and sigma constant in backward. Xu et al. 2019, section 3."""
    mu = x.mean(-1, keepdim=True)
    sigma = ((x - mu).square().mean(-1, keepdim=True) + _EPS).sqrt()
    return (x - mu.detach()) / sigma.detach()


def authors_adanorm(x: Tensor) -> Tensor:
    """Compute AdaNorm as the authors' code: sample deviation, eps outside the root, factor detached.

    The code is lancopku/AdaNorm, commit 546faea, rewritten.
    """
    centred = x - x.mean(-1, keepdim=True)
    y = centred / (x.std(-1, keepdim=True) + _EPS)
    return y * (1 - _K * y).detach()


def authors_detachnorm(x: Tensor) -> Tensor:
    """Compute DetachNorm likewise: sample deviation, eps outside the root, both statistics detached."""
    mu, sigma = x.mean(-1, keepdim=True).detach(), x.std(-1, keepdim=True).detach()
    return (x - mu) / (sigma + _EPS)


_FORMULAS: dict[str, list[tuple[str, Callable[[Tensor], Tensor]]]] = {
    "plain formula": [
        ("layernorm_simple", _standardized),
        ("detachnorm", plain_detachnorm),
        ("adanorm", plain_adanorm),
    ],
    "the authors'": [("detachnorm", authors_detachnorm), ("adanorm", authors_adanorm)],
}


class _Copy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, g: Tensor) -> Tensor:
        return g.clone()


def _of_a_gpu(size: int) -> dict[str, nn.Module]:
    """Return kernels of other projects, if they are installed; untested."""
    found: dict[str, nn.Module] = {}
    if importlib.util.find_spec("liger_kernel") is not None:
        from liger_kernel.transformers.layer_norm import LigerLayerNorm

        found["layernorm, Liger"] = LigerLayerNorm(size, eps=_EPS)
    if importlib.util.find_spec("apex") is not None:
        from apex.normalization import FusedLayerNorm

        found["layernorm, Apex"] = FusedLayerNorm(size, eps=_EPS)
    return found
