"""pRMSNorm: RMSNorm whose statistic is of the first features alone."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from app.norms.base import Norm, Shape
from app.norms.functional import partial_rms_norm
from app.norms.registry import register_norm


@register_norm("prmsnorm")
class PartialRMSNorm(Norm):
    """Normalization by the root mean square of the first features.

    weight * x / sqrt(mean(the first k of x^2) + eps),  k = ceil(p H)

    H = product of `normalized_shape`; p = `p`, above 0 and at most 1, the default of the authors' code; weight, of
    `normalized_shape`, is learned from 1. Zhang and Sennrich 2019, who claim that 6.25 % of the features are enough;
    their code adds eps outside the root.

    Raises:
        ValueError: if p is not above 0 and at most 1.
    """

    def __init__(self, normalized_shape: Shape, eps: float = 1e-5, *, p: float = 0.0625) -> None:
        super().__init__(normalized_shape, eps)
        self.check_options(p=p)
        self.p = p
        self.first = math.ceil(p * math.prod(self.normalized_shape))
        self.weight = nn.Parameter(torch.ones(self.normalized_shape))

    @classmethod
    def check_options(cls, **options: Any) -> None:
        """Refuse a p that is not a share too."""
        super().check_options(**options)
        if not 0 < options["p"] <= 1:
            raise ValueError(f"p must be above 0 and at most 1, got {options['p']!r}")

    def normalize(self, x: Tensor) -> Tensor:
        """Compute the formula; x and a number per row are saved for backward."""
        return partial_rms_norm(x, self.normalized_shape, self.weight, self.eps, self.first)
