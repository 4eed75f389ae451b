"""LayerNorm with its bias only."""

import torch
from torch import Tensor, nn

from app.norms.base import Norm, Shape
from app.norms.functional import layer_norm
from app.norms.registry import register_norm


@register_norm("layernorm_bias")
class LayerNormBias(Norm):
    """LayerNorm with a bias and no gain: the other half of what LayerNorm-simple drops.

    y + bias,  y = (x - mu) / sqrt(var + eps)

    mu, var = mean and population variance of x over `normalized_shape`; bias, of `normalized_shape`, is learned
    from 0. Ours, to test the claim of Xu et al. 2019, section 3, that gain and bias cause overfitting.
    """

    detaches_mean = False
    detaches_sigma = False

    def __init__(self, normalized_shape: Shape, eps: float = 1e-5) -> None:
        super().__init__(normalized_shape, eps)
        self.bias = nn.Parameter(torch.zeros(self.normalized_shape))

    def normalize(self, x: Tensor) -> Tensor:
        """Compute the formula by torch's kernel."""
        return layer_norm(x, self.normalized_shape, self.eps, bias=self.bias)
