"""Pointwise: a learned bounded function of each element instead of a norm, one of a choice of functions."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from app.norms.base import Norm, Shape
from app.norms.functional import FUNCTIONS, pointwise
from app.norms.registry import register_norm


@register_norm("pointwise")
class Pointwise(Norm):
    """An elementwise bounded function with a learned slope and shift, without statistics.

    weight * f(u) + bias,  u = alpha x + shift

    f = `function`: `tanh`, `erf`; `isru`, u / sqrt(u^2 + 1); `arctan`, 2 / pi atan(u); `expsign`,
    sgn(u) (1 - exp(-|u|)); `cubsign`, u^3 / (|u|^3 + 1); `relsign`, u / (sqrt(u^2 + 1) + 1); `smoothsign`,
    u / (1 + |u|); `linear_clip`, u between -1 and 1; `saturlog`, sgn(u) L / (L + 1), L = log(|u| + 1); `satursin`,
    sin(u between -pi/2 and pi/2). alpha and shift, of shape (1,), are learned from `alpha_init` and `shift_init`;
    weight and bias, of `normalized_shape`, from 1 and 0; `eps` is accepted and not used. The functions that Chen et al.
    2025, "Stronger Normalization-Free Transformers" (arXiv 2512.10938), compare before they choose erf, which is
    `derf`; their exproot is not here, because its slope at 0 is infinite.

    Raises:
        ValueError: for an unknown function, or if a start value is not finite.
    """

    short_options: ClassVar[Mapping[str, str]] = {"alpha": "alpha_init", "shift": "shift_init"}

    def __init__(
        self,
        normalized_shape: Shape,
        eps: float = 1e-5,
        *,
        function: str = "isru",
        alpha_init: float = 0.5,
        shift_init: float = 0.0,
    ) -> None:
        super().__init__(normalized_shape, eps)
        self.check_options(function=function, alpha_init=alpha_init, shift_init=shift_init)
        self.function = function
        self.alpha_init = alpha_init
        self.shift_init = shift_init
        self.alpha = nn.Parameter(torch.full((1,), float(alpha_init)))
        self.shift = nn.Parameter(torch.full((1,), float(shift_init)))
        self.weight = nn.Parameter(torch.ones(self.normalized_shape))
        self.bias = nn.Parameter(torch.zeros(self.normalized_shape))

    @classmethod
    def check_options(cls, **options: Any) -> None:
        """Refuse an unknown function too."""
        super().check_options(**options)
        if options["function"] not in FUNCTIONS:
            raise ValueError(f"function is {options['function']!r}; allowed: {', '.join(FUNCTIONS)}")

    def normalize(self, x: Tensor) -> Tensor:
        """Compute the formula; of the activations, only x is saved for backward."""
        return pointwise(x, self.function, self.alpha, self.shift, self.weight, self.bias)
