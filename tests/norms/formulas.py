"""What each norm of ours must compute, said twice, in float64 and without haste.

`FORMULAS`: the plain formula, whose gradient autograd takes; `detach()` stands where the paper holds a part constant.
`CLOSED_FORMS`: the gradients as one writes them on paper, by the table of Xu et al. 2019 where it has the norm.
A norm that stands in neither still meets every test of test_contract.py.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from app.norms import Norm

OURS = (
    *("layernorm", "layernorm_simple", "detachnorm", "detach_mean", "detach_variance", "adanorm", "none"),
    *("rmsnorm", "scalenorm", "dyt", "layernorm_gain", "layernorm_bias"),
    *("pointwise", "derf", "dyisru", "simple_rmsnorm", "l2norm", "zero_centered_rmsnorm", "prmsnorm"),
    *("pre_affine_rmsnorm", "detach_rms", "seednorm", "detach_seednorm", "gatednorm", "bhyt", "layernorm_scaled"),
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


def inverse_rms(norm: Norm, x: Tensor) -> Tensor:
    return 1 / (mean(x**2, norm) + norm.eps).sqrt()


def rows(norm: Norm, t: Tensor) -> Tensor:
    return t.reshape(-1, size(norm))


POINTWISE: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "erf": torch.erf,
    "isru": lambda u: u / (u**2 + 1).sqrt(),
    "arctan": lambda u: 2 / math.pi * torch.atan(u),
    "expsign": lambda u: torch.sign(u) * (1 - torch.exp(-u.abs())),
    "cubsign": lambda u: u**3 / (u.abs() ** 3 + 1),
    "relsign": lambda u: u / ((u**2 + 1).sqrt() + 1),
    "smoothsign": lambda u: u / (1 + u.abs()),
    "linear_clip": lambda u: torch.clip(u, -1, 1),
    "saturlog": lambda u: torch.sign(u) * torch.log(u.abs() + 1) / (torch.log(u.abs() + 1) + 1),
    "satursin": lambda u: torch.sin(torch.clip(u, -math.pi / 2, math.pi / 2)),
}


def pointwise(norm: Norm, x: Tensor) -> Tensor:
    return norm.weight * POINTWISE[norm.function](norm.alpha * x + norm.shift) + norm.bias


def dyisru(norm: Norm, x: Tensor) -> Tensor:
    return norm.weight * size(norm) ** 0.5 * x / (norm.root_beta**2 + x**2 + norm.eps).sqrt() + norm.bias


def prmsnorm(norm: Norm, x: Tensor) -> Tensor:
    first = rows(norm, x)[:, : math.ceil(norm.p * size(norm))]
    rms = ((first**2).mean(1) + norm.eps).sqrt()
    return norm.weight * x / rms.reshape(*x.shape[: -len(norm.normalized_shape)], *[1] * len(norm.normalized_shape))


def pre_affine(norm: Norm, x: Tensor) -> Tensor:
    u = norm.pre_weight * x
    return norm.weight * u * inverse_rms(norm, u)


def dynamic_factor(norm: Norm, x: Tensor, detach: bool = False) -> Tensor:
    """SeeDNorm's weight + alpha tanh(x . beta), a dot product for each head."""
    slices = rows(norm, x.detach() if detach else x).reshape(-1, norm.heads, size(norm) // norm.heads)
    t = torch.tanh((slices * norm.beta.reshape(slices.shape[1:])).sum(-1, keepdim=True)).expand_as(slices)
    return norm.weight + norm.alpha * t.reshape(x.shape)


def gatednorm(norm: Norm, x: Tensor) -> Tensor:
    y = rows(norm, norm.weight * x * inverse_rms(norm, x))
    hidden = y @ norm.down.T
    return (y * torch.sigmoid((hidden * torch.sigmoid(hidden)) @ norm.up.T)).reshape(x.shape)


def layernorm_scaled(norm: Norm, x: Tensor) -> Tensor:
    return FORMULAS[norm.base](norm, x) / norm.layer**0.5


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
    "pointwise": pointwise,
    "derf": lambda norm, x: norm.weight * torch.erf(norm.alpha * x + norm.shift) + norm.bias,
    "dyisru": dyisru,
    "simple_rmsnorm": lambda norm, x: x * inverse_rms(norm, x),
    "l2norm": lambda norm, x: x / ((x**2).sum(dims(norm), keepdim=True) + size(norm) * norm.eps).sqrt(),
    "zero_centered_rmsnorm": lambda norm, x: (1 + norm.weight) * x * inverse_rms(norm, x),
    "prmsnorm": prmsnorm,
    "pre_affine_rmsnorm": pre_affine,
    "detach_rms": lambda norm, x: norm.weight * x * inverse_rms(norm, x).detach(),
    "seednorm": lambda norm, x: dynamic_factor(norm, x) * x * inverse_rms(norm, x),
    "detach_seednorm": lambda norm, x: dynamic_factor(norm, x, detach=True) * x * inverse_rms(norm, x),
    "gatednorm": gatednorm,
    "bhyt": lambda norm, x: norm.weight * torch.tanh(norm.lam * x * inverse_rms(norm, x) / norm.kappa),
    "layernorm_scaled": layernorm_scaled,
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


SLOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "erf": lambda u: 2 / math.pi**0.5 * torch.exp(-(u**2)),
    "isru": lambda u: (u**2 + 1) ** -1.5,
}


def pointwise_gradients(norm: Norm, x: Tensor, g: Tensor, function: str) -> Gradients:
    u = norm.alpha * x + norm.shift
    at_u = g * norm.weight * SLOPES[function](u)
    return {
        "x": at_u * norm.alpha,
        "alpha": (at_u * x).sum().reshape(1),
        "shift": at_u.sum().reshape(1),
        "weight": over_batch(g * POINTWISE[function](u), norm),
        "bias": over_batch(g, norm),
    }


def dyisru_gradients(norm: Norm, x: Tensor, g: Tensor) -> Gradients:
    under = norm.root_beta**2 + x**2 + norm.eps
    root = size(norm) ** 0.5
    return {
        "x": g * norm.weight * root * (under - x**2) / under**1.5,
        "root_beta": (-g * norm.weight * root * x * norm.root_beta / under**1.5).sum().reshape(1),
        "weight": over_batch(g * root * x / under.sqrt(), norm),
        "bias": over_batch(g, norm),
    }


def prmsnorm_gradients(norm: Norm, x: Tensor, g: Tensor) -> Gradients:
    count = math.ceil(norm.p * size(norm))
    flat, at_y = rows(norm, x), rows(norm, g * norm.weight)
    rms = ((flat[:, :count] ** 2).mean(1, keepdim=True) + norm.eps).sqrt()
    dx = at_y / rms
    dx[:, :count] -= flat[:, :count] * (at_y * flat).sum(1, keepdim=True) / (count * rms**3)
    return {"x": dx.reshape(x.shape), "weight": over_batch(g * (flat / rms).reshape(x.shape), norm)}


def pre_affine_gradients(norm: Norm, x: Tensor, g: Tensor) -> Gradients:
    at_u, y = rms_family(norm, norm.pre_weight * x, g, norm.weight)
    return {
        "x": at_u * norm.pre_weight,
        "pre_weight": over_batch(at_u * x, norm),
        "weight": over_batch(g * y, norm),
    }


def detach_rms_gradients(norm: Norm, x: Tensor, g: Tensor) -> Gradients:
    inverse = inverse_rms(norm, x)
    return {"x": g * norm.weight * inverse, "weight": over_batch(g * x * inverse, norm)}


def seednorm_gradients(norm: Norm, x: Tensor, g: Tensor, detach: bool = False) -> Gradients:
    dx, y = rms_family(norm, x, g, dynamic_factor(norm, x))
    heads = (-1, norm.heads, size(norm) // norm.heads)
    slices, beta = x.reshape(heads), norm.beta.reshape(heads[1:])
    t = torch.tanh((slices * beta).sum(-1, keepdim=True))
    at_z = (1 - t**2) * ((g * y * norm.alpha).reshape(heads)).sum(-1, keepdim=True)
    return {
        "x": dx if detach else dx + (at_z * beta).reshape(x.shape),
        "weight": over_batch(g * y, norm),
        "alpha": over_batch(g * y * t.expand_as(slices).reshape(x.shape), norm),
        "beta": over_batch((at_z * slices).reshape(x.shape), norm),
    }


def gatednorm_gradients(norm: Norm, x: Tensor, g: Tensor) -> Gradients:
    normalized = rows(norm, x * inverse_rms(norm, x))
    y, flat_g = normalized * norm.weight.reshape(-1), rows(norm, g)
    before = y @ norm.down.T
    sigma = torch.sigmoid(before)
    gate = torch.sigmoid((before * sigma) @ norm.up.T)
    at_gate = flat_g * y * gate * (1 - gate)
    at_before = (at_gate @ norm.up) * (sigma + before * sigma * (1 - sigma))
    at_y = flat_g * gate + at_before @ norm.down
    dx, _ = rms_family(norm, x, at_y.reshape(x.shape), norm.weight)
    return {
        "x": dx,
        "weight": over_batch((at_y * normalized).reshape(x.shape), norm),
        "down": at_before.T @ y,
        "up": at_gate.T @ (before * sigma),
    }


def bhyt_gradients(norm: Norm, x: Tensor, g: Tensor) -> Gradients:
    y, scale = x * inverse_rms(norm, x), norm.lam / norm.kappa
    t = torch.tanh(scale * y)
    at_u = g * norm.weight * (1 - t**2)
    dx, _ = rms_family(norm, x, at_u, scale)
    return {"x": dx, "lam": (at_u * y / norm.kappa).sum().reshape(1), "weight": over_batch(g * t, norm)}


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
    "pointwise": lambda norm, x, g: pointwise_gradients(norm, x, g, norm.function),
    "derf": lambda norm, x, g: pointwise_gradients(norm, x, g, "erf"),
    "dyisru": dyisru_gradients,
    "simple_rmsnorm": lambda norm, x, g: {"x": rms_family(norm, x, g, torch.ones(()))[0]},
    "l2norm": lambda norm, x, g: {"x": rms_family(norm, x, g, torch.tensor(size(norm) ** -0.5, dtype=x.dtype))[0]},
    "zero_centered_rmsnorm": lambda norm, x, g: {
        "x": rms_family(norm, x, g, 1 + norm.weight)[0],
        "weight": over_batch(g * x * inverse_rms(norm, x), norm),
    },
    "prmsnorm": prmsnorm_gradients,
    "pre_affine_rmsnorm": pre_affine_gradients,
    "detach_rms": detach_rms_gradients,
    "seednorm": seednorm_gradients,
    "detach_seednorm": lambda norm, x, g: seednorm_gradients(norm, x, g, detach=True),
    "gatednorm": gatednorm_gradients,
    "bhyt": bhyt_gradients,
    "layernorm_scaled": lambda norm, x, g: CLOSED_FORMS[norm.base](norm, x, g / norm.layer**0.5),
}
