"""DynamicTanh: a learned tanh of each element instead of a norm."""

import torch
from torch import Tensor, nn

from app.norms.base import Norm, Shape
from app.norms.functional import pointwise
from app.norms.registry import register_norm


@register_norm("dyt")
class DynamicTanh(Norm):
    """An elementwise tanh with a learned slope, without statistics.

    weight * tanh(alpha x) + bias

    alpha, of shape (1,), is learned from `alpha_init`; weight and bias, of `normalized_shape`, from 1 and 0; `eps` is
    accepted and not used. Zhu et al. 2025, "Transformers without Normalization", section 4.

    Raises:
        ValueError: if `alpha_init` is not finite.
    """

    def __init__(self, normalized_shape: Shape, eps: float = 1e-5, *, alpha_init: float = 0.5) -> None:
        super().__init__(normalized_shape, eps)
        self.check_options(alpha_init=alpha_init)
        self.alpha_init = alpha_init
        self.alpha = nn.Parameter(torch.full((1,), float(alpha_init)))
        self.weight = nn.Parameter(torch.ones(self.normalized_shape))
        self.bias = nn.Parameter(torch.zeros(self.normalized_shape))

    def normalize(self, x: Tensor) -> Tensor:
        """Compute the formula; of the activations, only x is saved for backward."""
        return pointwise(x, "tanh", self.alpha, None, self.weight, self.bias)
