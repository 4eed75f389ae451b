"""LayerNorm, the reference of every comparison."""

import torch
from torch import Tensor, nn

from app.norms.base import Norm, Shape
from app.norms.functional import layer_norm
from app.norms.registry import register_norm


@register_norm("layernorm")
class LayerNorm(Norm):
    """Layer normalization with gain and bias, exactly nn.LayerNorm.

    weight * y + bias,  y = (x - mu) / sqrt(var + eps)

    mu, var = mean and population variance of x over `normalized_shape`; weight and bias, of `normalized_shape`, are
    learned from 1 and 0. Ba et al. 2016; Xu et al. 2019, equation 1. The authors of the latter use it as torch or
    apex computes it, where their other variants divide by the sample deviation (H - 1) plus eps.
    """

    detaches_mean = False
    detaches_sigma = False

    def __init__(self, normalized_shape: Shape, eps: float = 1e-5) -> None:
        super().__init__(normalized_shape, eps)
        self.weight = nn.Parameter(torch.ones(self.normalized_shape))
        self.bias = nn.Parameter(torch.zeros(self.normalized_shape))

    def normalize(self, x: Tensor) -> Tensor:
        """Compute the formula by torch's kernel."""
        return layer_norm(x, self.normalized_shape, self.eps, self.weight, self.bias)

    def gradient_at_y(self, gradient: Tensor, x: Tensor) -> Tensor:
        """Multiply the gradient by weight."""
        return gradient * self.weight
