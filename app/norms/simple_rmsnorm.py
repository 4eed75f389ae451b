"""SimpleRMSNorm: RMSNorm without a gain."""

from torch import Tensor

from app.norms.base import Norm
from app.norms.functional import rms_norm
from app.norms.registry import register_norm


@register_norm("simple_rmsnorm")
class SimpleRMSNorm(Norm):
    """Normalization by the root mean square, without parameters.

    x / sqrt(mean(x^2) + eps)

    mean over `normalized_shape`. Qin et al. 2023, "TransNormerLLM"; nanochat's norm, and Llama 4's of queries and keys.
    """

    def normalize(self, x: Tensor) -> Tensor:
        """Compute an RMS norm with a gain of 1."""
        return rms_norm(x, self.normalized_shape, x.new_ones(self.normalized_shape), self.eps)
