"""No normalization, the paper's "w/o Norm"."""

from torch import Tensor

from app.norms.base import Norm
from app.norms.registry import register_norm


@register_norm("none")
class NoNorm(Norm):
    """The identity: returns x itself, not a copy, as nn.Identity does.

    x;  g reaches x

    `normalized_shape` is checked; `eps` is accepted and not used. "w/o Norm" in the tables of Xu et al. 2019.
    """

    def normalize(self, x: Tensor) -> Tensor:
        """Return x itself, in one piece as every norm's output is, because models take views of it."""
        return x.contiguous()
