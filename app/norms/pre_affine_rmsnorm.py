"""PreAffineRMSNorm: RMSNorm with a gain before the statistic as well."""

import torch
from torch import Tensor, nn

from app.norms.base import Norm, Shape
from app.norms.functional import pre_affine_rms_norm
from app.norms.registry import register_norm


@register_norm("pre_affine_rmsnorm")
class PreAffineRMSNorm(Norm):
    """RMSNorm of an input that is scaled feature by feature before.

    weight * u / sqrt(mean(u^2) + eps),  u = pre_weight * x

    mean over `normalized_shape`; weight and pre_weight, of `normalized_shape`, are learned from 1. arXiv 2601.22966, of
    the authors of GatedNorm, who claim that it makes outlier features needless.
    """

    def __init__(self, normalized_shape: Shape, eps: float = 1e-5) -> None:
        super().__init__(normalized_shape, eps)
        self.pre_weight = nn.Parameter(torch.ones(self.normalized_shape))
        self.weight = nn.Parameter(torch.ones(self.normalized_shape))

    def normalize(self, x: Tensor) -> Tensor:
        """Compute the formula; x and a number per row are saved for backward."""
        return pre_affine_rms_norm(x, self.normalized_shape, self.pre_weight, self.weight, self.eps)
