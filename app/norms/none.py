"""No normalization, the paper's "w/o Norm"."""

from torch import Tensor

from app.norms.base import Norm
from app.norms.registry import register_norm


@register_norm("none")
class NoNorm(Norm):
    """The identity: x itself, not a copy, as nn.Identity gives it.

    x;  g reaches x

    `normalized_shape` is checked and `eps` accepted and not used. "w/o Norm" in the tables of Xu et al. 2019.
    """

    def normalize(self, x: Tensor) -> Tensor:
        """Give x itself."""
        return x
