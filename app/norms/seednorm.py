"""SeeDNorm: RMSNorm whose gain depends on the input."""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from app.norms.base import Norm, Shape
from app.norms.functional import self_rescaled_norm
from app.norms.registry import register_norm


@register_norm("seednorm")
class SeeDNorm(Norm):
    """Self-rescaled dynamic normalization: RMSNorm with a gain that the input moves.

    (weight + alpha * tanh(x . beta)) * x / sqrt(mean(x^2) + eps)

    mean over `normalized_shape`, of product H; x . beta is one dot product for each of `heads` equal slices of the
    features, and its tanh a factor of alpha's slice. weight, alpha and beta, of `normalized_shape`, are learned from 1,
    1 and 0, so it starts as RMSNorm. Cai et al. 2025, "SeeDNorm" (arXiv 2510.22777). They decay alpha and beta but not
    weight, use several heads in vision transformers, and claim better models than with RMSNorm, LayerNorm and DyT, in
    language (mixture of experts, 1.3 billion parameters) and vision.

    Raises:
        ValueError: if heads is below 1 or does not divide H.
    """

    detaches_factor: ClassVar[bool] = False
    """Whether tanh(x . beta) is constant in x in backward."""

    def __init__(self, normalized_shape: Shape, eps: float = 1e-5, *, heads: int = 1) -> None:
        super().__init__(normalized_shape, eps)
        self.check_options(heads=heads)
        size = math.prod(self.normalized_shape)
        if size % heads:
            raise ValueError(f"heads is {heads}, which does not divide the {size} features; use a divisor")
        self.heads = heads
        self.weight = nn.Parameter(torch.ones(self.normalized_shape))
        self.alpha = nn.Parameter(torch.ones(self.normalized_shape))
        self.beta = nn.Parameter(torch.zeros(self.normalized_shape))

    @classmethod
    def check_options(cls, **options: Any) -> None:
        """Refuse fewer heads than one too."""
        super().check_options(**options)
        if options["heads"] < 1:
            raise ValueError(f"heads must be >= 1, got {options['heads']}")

    def normalize(self, x: Tensor) -> Tensor:
        """Compute the formula; x, a number per row and a number per head are saved for backward."""
        return self_rescaled_norm(
            *(x, self.normalized_shape, self.weight, self.alpha, self.beta),
            *(self.eps, self.heads, self.detaches_factor),
        )
