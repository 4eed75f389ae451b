"""ScaleNorm: one learned length for all vectors."""

import math

import torch
from torch import Tensor, nn

from app.norms.base import Norm, Shape
from app.norms.functional import rms_norm
from app.norms.registry import register_norm


@register_norm("scalenorm")
class ScaleNorm(Norm):
    """Scales every vector to one learned length.

    scale * x / sqrt(sum(x^2) + H eps)

    sum over `normalized_shape`, of product H; scale, of shape (1,), is learned from sqrt(H). It is not a gain of
    `normalized_shape`, so injection copies no weight into it. Nguyen and Salazar 2019; their code bounds
    the length from below by eps, where here eps is added to the mean square, as in `rmsnorm`.
    """

    def __init__(self, normalized_shape: Shape, eps: float = 1e-5) -> None:
        super().__init__(normalized_shape, eps)
        self.size = math.prod(self.normalized_shape)
        self.scale = nn.Parameter(torch.full((1,), math.sqrt(self.size)))

    def normalize(self, x: Tensor) -> Tensor:
        """Compute an RMS norm with the same gain for all features."""
        gain = (self.scale / math.sqrt(self.size)).expand(self.normalized_shape)
        return rms_norm(x, self.normalized_shape, gain, self.eps)
