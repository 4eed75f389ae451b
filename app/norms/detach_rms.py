"""Detach RMS: RMSNorm whose root mean square is a constant in backward."""

import torch
from torch import Tensor, nn

from app.norms.base import Norm, Shape
from app.norms.functional import detach_rms
from app.norms.registry import register_norm


@register_norm("detach_rms")
class DetachRMS(Norm):
    """The forward of RMSNorm, without the derivative of the root mean square: DetachNorm's question put to RMSNorm.

    weight * x / rms,  rms = sqrt(mean(x^2) + eps);  weight * g / rms reaches x

    mean over `normalized_shape`, rms constant in backward; g = the gradient at the output; weight, of
    `normalized_shape`, is learned from 1. As Xu et al. 2019, section 3, do it with LayerNorm's mean and deviation.
    """

    true_gradient = False

    def __init__(self, normalized_shape: Shape, eps: float = 1e-5) -> None:
        super().__init__(normalized_shape, eps)
        self.weight = nn.Parameter(torch.ones(self.normalized_shape))

    def normalize(self, x: Tensor) -> Tensor:
        """Compute the formula; x and a number per row are saved for backward."""
        return detach_rms(x, self.normalized_shape, self.weight, self.eps)
