"""L2Norm: every vector has length 1."""

import math

import torch
from torch import Tensor

from app.norms.base import Norm
from app.norms.functional import rms_norm
from app.norms.registry import register_norm


@register_norm("l2norm")
class L2Norm(Norm):
    """Scales every vector to length 1, without parameters.

    x / sqrt(sum(x^2) + H eps)

    sum over `normalized_shape`, of product H. It is `simple_rmsnorm` divided by sqrt(H), and `scalenorm` with a length
    that is not learned; eps is added to the mean square, as in these. Common on queries and keys (Henry et al. 2020).
    """

    def normalize(self, x: Tensor) -> Tensor:
        """Compute an RMS norm with a gain of 1 / sqrt(H)."""
        gain = x.new_full(
            self.normalized_shape,
            math.prod(self.normalized_shape) ** -0.5,
            dtype=torch.promote_types(x.dtype, torch.float32),
        )
        return rms_norm(x, self.normalized_shape, gain, self.eps)
