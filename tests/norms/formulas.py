"""What each norm of ours must compute, said twice, in float64 and without haste.

`FORMULAS`: the plain formula, whose gradient autograd takes; `detach()` stands where the paper holds a part constant.
`CLOSED_FORMS`: the gradients as one writes them on paper, by the table of Xu et al. 2019 where it has the norm.
A norm that stands in neither still meets every test of test_contract.py.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from app.norms import Norm

OURS = (
    *("layernorm", "layernorm_simple", "detachnorm", "detach_mean", "detach_variance", "adanorm", "none"),
    *("rmsnorm", "scalenorm", "dyt", "layernorm_gain", "layernorm_bias"),
)
Gradients = dict[str, Tensor]  # "x" and the parameters' names


def dims(norm: Norm) -> list[int]:
    return list(range(-len(norm.normalized_shape), 0))


def size(norm: Norm) -> int:
    return torch.Size(norm.normalized_shape).numel()


def mean(t: Tensor, norm: Norm) -> Tensor:
    return t.mean(dims(norm), keepdim=True)


def standardize(norm: Norm, x: Tensor, fix_mean: bool = False, fix_sigma: bool = False) -> Tensor:
    mu = mean(x, norm)
    mu = mu.detach() if fix_mean else mu
    sigma = (mean((x - mu) ** 2, norm) + norm.eps).sqrt()
    return (x - mu) / (sigma.detach() if fix_sigma else sigma)


def adanorm(norm: Norm, x: Tensor) -> Tensor:
    y = standardize(norm, x)
    return (norm.scale * (1 - norm.k * y)).detach() * y


def scalenorm(norm: Norm, x: Tensor) -> Tensor:
    return norm.scale * x / ((x**2).sum(dims(norm), keepdim=True) + size(norm) * norm.eps).sqrt()


FORMULAS: dict[str, Callable[[Norm, Tensor], Tensor]] = {
    "layernorm": lambda norm, x: norm.weight * standardize(norm, x) + norm.bias,
    "layernorm_simple": standardize,
    "layernorm_gain": lambda norm, x: norm.weight * standardize(norm, x),
    "layernorm_bias": lambda norm, x: standardize(norm, x) + norm.bias,
    "detachnorm": lambda norm, x: standardize(norm, x, fix_mean=True, fix_sigma=True),
    "detach_mean": lambda norm, x: standardize(norm, x, fix_mean=True),
    "detach_variance": lambda norm, x: standardize(norm, x, fix_sigma=True),
    "adanorm": adanorm,
    "none": lambda norm, x: x.clone(),
    "rmsnorm": lambda norm, x: norm.weight * x / (mean(x**2, norm) + norm.eps).sqrt(),
    "scalenorm": scalenorm,
    "dyt": lambda norm, x: norm.weight * torch.tanh(norm.alpha * x) + norm.bias,
}


def over_batch(t: Tensor, norm: Norm) -> Tensor:
    return t.reshape(-1, *norm.normalized_shape).sum(0)


def layernorm_family(
    norm: Norm, x: Tensor, g: Tensor, fix_mean: bool = False, fix_sigma: bool = False, factor: Tensor | float = 1.0
) -> Gradients:
    """The table's last column; `factor` is what multiplies y on its way out."""
    y = standardize(norm, x)
    sigma = (mean((x - mean(x, norm)) ** 2, norm) + norm.eps).sqrt()
    at_y = g * factor
    through_mean = 0 if fix_mean else mean(at_y, norm)
    through_sigma = 0 if fix_sigma else y * mean(at_y * y, norm)
    gradients = {"x": (at_y - through_mean - through_sigma) / sigma}
    if hasattr(norm, "weight"):
        gradients["weight"] = over_batch(g * y, norm)
    if hasattr(norm, "bias"):
        gradients["bias"] = over_batch(g, norm)
    return gradients


def rms_family(norm: Norm, x: Tensor, g: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient that reaches x, and y = x / rms(x)."""
    rms = (mean(x**2, norm) + norm.eps).sqrt()
    y = x / rms
    return (gain * g - y * mean(gain * g * y, norm)) / rms, y


def rmsnorm_gradients(norm: Norm, x: Tensor, g: Tensor) -> Gradients:
    dx, y = rms_family(norm, x, g, norm.weight)
    return {"x": dx, "weight": over_batch(g * y, norm)}


def scalenorm_gradients(norm: Norm, x: Tensor, g: Tensor) -> Gradients:
    root = size(norm) ** 0.5
    dx, y = rms_family(norm, x, g, norm.scale / root)
    return {"x": dx, "scale": (g * y).sum().reshape(1) / root}


def dyt_gradients(norm: Norm, x: Tensor, g: Tensor) -> Gradients:
    t = torch.tanh(norm.alpha * x)
    through_tanh = g * norm.weight * (1 - t**2)
    return {
        "x": through_tanh * norm.alpha,
        "alpha": (through_tanh * x).sum().reshape(1),
        "weight": over_batch(g * t, norm),
        "bias": over_batch(g, norm),
    }


CLOSED_FORMS: dict[str, Callable[[Norm, Tensor, Tensor], Gradients]] = {
    "layernorm": lambda norm, x, g: layernorm_family(norm, x, g, factor=norm.weight),
    "layernorm_simple": layernorm_family,
    "layernorm_gain": lambda norm, x, g: layernorm_family(norm, x, g, factor=norm.weight),
    "layernorm_bias": layernorm_family,
    "detachnorm": lambda norm, x, g: layernorm_family(norm, x, g, fix_mean=True, fix_sigma=True),
    "detach_mean": lambda norm, x, g: layernorm_family(norm, x, g, fix_mean=True),
    "detach_variance": lambda norm, x, g: layernorm_family(norm, x, g, fix_sigma=True),
    "adanorm": lambda norm, x, g: layernorm_family(norm, x, g, factor=norm.scale * (1 - norm.k * standardize(norm, x))),
    "none": lambda norm, x, g: {"x": g},
    "rmsnorm": rmsnorm_gradients,
    "scalenorm": scalenorm_gradients,
    "dyt": dyt_gradients,
}
