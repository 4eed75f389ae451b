"""RMSNorm: normalization without mean and bias."""

import torch
from torch import Tensor, nn

from app.norms.base import Norm, Shape
from app.norms.functional import rms_norm
from app.norms.registry import register_norm


@register_norm("rmsnorm")
class RMSNorm(Norm):
    """Normalization by the root mean square, as nn.RMSNorm computes it.

    weight * x / sqrt(mean(x^2) + eps)

    mean over `normalized_shape`; weight, of `normalized_shape`, is learned from 1. Zhang and Sennrich 2019, equation 4;
    their code adds eps outside the root.
    """

    def __init__(self, normalized_shape: Shape, eps: float = 1e-5) -> None:
        super().__init__(normalized_shape, eps)
        self.weight = nn.Parameter(torch.ones(self.normalized_shape))

    def normalize(self, x: Tensor) -> Tensor:
        """Compute the formula by torch's fused kernel; on CPU, where there is none, by layer norm's backward kernel."""
        return rms_norm(x, self.normalized_shape, self.weight, self.eps)
