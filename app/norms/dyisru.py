"""DyISRU: the elementwise counterpart of RMSNorm."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from app.norms.base import Norm, Shape
from app.norms.functional import pointwise
from app.norms.registry import register_norm


@register_norm("dyisru")
class DyISRU(Norm):
    """An elementwise inverse square root unit: RMSNorm whose other features are one learned number.

    weight * sqrt(H) x / sqrt(beta + x^2 + eps) + bias,  beta = root_beta^2

    H = product of `normalized_shape`; beta, which stands for the sum of the squares of a row's other features, is
    learned by its root, of shape (1,), from H / slope^2, where slope = `slope_init` is the slope at 0; 1 is that of
    RMSNorm on rows of mean square 1. weight and bias, of `normalized_shape`, are learned from 1 and 0. Stollenwerk
    2025 (arXiv 2503.21708), who trains no model with it: the start, the gain and the bias are ours.

    Raises:
        ValueError: if `slope_init` is not finite or not above 0.
    """

    def __init__(self, normalized_shape: Shape, eps: float = 1e-5, *, slope_init: float = 1.0) -> None:
        super().__init__(normalized_shape, eps)
        self.check_options(slope_init=slope_init)
        self.slope_init = slope_init
        self.root_size = math.sqrt(math.prod(self.normalized_shape))
        self.root_beta = nn.Parameter(torch.full((1,), self.root_size / slope_init))
        self.weight = nn.Parameter(torch.ones(self.normalized_shape))
        self.bias = nn.Parameter(torch.zeros(self.normalized_shape))

    @classmethod
    def check_options(cls, **options: Any) -> None:
        """Refuse a slope that is not above 0 too."""
        super().check_options(**options)
        if options["slope_init"] <= 0:
            raise ValueError(f"slope_init must be above 0, got {options['slope_init']!r}")

    def normalize(self, x: Tensor) -> Tensor:
        """Compute the formula as isru(x / sqrt(beta + eps)); of the activations, only x is saved for backward."""
        alpha = (self.root_beta.square() + self.eps).rsqrt()
        return pointwise(x, "isru", alpha, None, self.weight * self.root_size, self.bias)
