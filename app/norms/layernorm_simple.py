"""LayerNorm-simple: LayerNorm without gain and bias."""

import torch.nn.functional as F
from torch import Tensor

from app.norms.base import Norm
from app.norms.functional import unit_affine
from app.norms.registry import register_norm


@register_norm("layernorm_simple")
class LayerNormSimple(Norm):
    """LayerNorm without gain and bias.

    y = (x - mu) / sqrt(var + eps);  (g - mean(g) - y mean(g y)) / sqrt(var + eps) reaches x

    mu, var = mean and population variance of x over `normalized_shape`; g = the gradient at y. Xu et al. 2019,
    section 3.1. The authors' code divides by the sample deviation (H - 1) plus eps, outside the root.
    """

    detaches_mean = False
    detaches_sigma = False

    def normalize(self, x: Tensor) -> Tensor:
        """Torch's own kernel, given ones and zeros where they make it faster."""
        return F.layer_norm(x, self.normalized_shape, *unit_affine(x, self.normalized_shape), self.eps)
