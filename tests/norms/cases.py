"""Making norms and inputs for the tests, the same in all of them."""

import torch
from torch import Tensor

from app.norms import Norm, build_norm

# Without options every norm stands with its defaults; these move what a default of 1 could hide.
OPTIONS = {
    "adanorm": {"k": 0.3, "scale": 1.7},
    "dyt": {"alpha_init": 0.8},
    "derf": {"alpha_init": 0.8, "shift_init": 0.1},
    "pointwise": {"alpha_init": 0.8, "shift_init": 0.1},
    "dyisru": {"slope_init": 0.7},
    "prmsnorm": {"p": 0.3},
    "gatednorm": {"rank": 3},
    "bhyt": {"lambda_init": 3.0, "kappa": 4.0},
    "layernorm_scaled": {"layer": 3},
}


def make(name: str, shape: int | tuple[int, ...] = 8, dtype: torch.dtype = torch.float64, eps: float = 1e-5) -> Norm:
    """A norm with parameters away from their initial values, where a lost gain or bias would not show."""
    norm = build_norm(name, shape, eps, **OPTIONS.get(name, {}))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return norm.to(dtype)


def draw(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """Normal numbers around 0.5, so that a mean is there to be lost."""
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.5).to(dtype)


def leaf(x: Tensor) -> Tensor:
    return x.detach().clone().requires_grad_()


def gradients(norm: Norm, output: Tensor, x: Tensor, g: Tensor, **options: bool) -> dict[str, Tensor]:
    """The gradients of sum(output * g) for x and every parameter, by name."""
    named = {"x": x, **dict(norm.named_parameters())}
    return dict(zip(named, torch.autograd.grad(output, list(named.values()), g, **options), strict=True))


def assert_same(got: dict[str, Tensor], expected: dict[str, Tensor], **tolerance: float) -> None:
    assert got.keys() == expected.keys()
    for name, value in got.items():
        torch.testing.assert_close(value, expected[name], msg=lambda text, name=name: f"{name}: {text}", **tolerance)
