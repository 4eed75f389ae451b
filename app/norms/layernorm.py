"""LayerNorm, the reference of every comparison."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.norms.base import Norm
from app.norms.registry import register_norm


@register_norm("layernorm")
class LayerNorm(Norm):
    """weight * (x - mu) / sqrt(var + eps) + bias (Ba et al. 2016; Xu et al. 2019, equation 1).

    weight and bias, of `normalized_shape`, start at 1 and 0.
    """

    def __init__(self, normalized_shape: int | tuple[int, ...], eps: float = 1e-5) -> None:
        super().__init__(normalized_shape, eps)
        self.weight = nn.Parameter(torch.ones(self.normalized_shape))
        self.bias = nn.Parameter(torch.zeros(self.normalized_shape))

    def normalize(self, x: Tensor) -> Tensor:
        """Torch's own kernel."""
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
