"""Zero-centred RMSNorm: RMSNorm whose weight is the gain minus 1."""

import torch
from torch import Tensor, nn

from app.norms.base import Norm, Shape
from app.norms.functional import rms_norm
from app.norms.registry import register_norm


@register_norm("zero_centered_rmsnorm")
class ZeroCenteredRMSNorm(Norm):
    """RMSNorm whose weight is the difference of the gain from 1.

    (1 + weight) * x / sqrt(mean(x^2) + eps)

    mean over `normalized_shape`; weight, of `normalized_shape`, is learned from 0, and 1 is added to it in float32. It
    differs from `rmsnorm` under weight decay, which draws the gain to 1 rather than 0, and in what bfloat16 can
    resolve. Gemma and Qwen3-Next; Hugging Face's Gemma3RMSNorm.
    """

    gain_offset = 1.0

    def __init__(self, normalized_shape: Shape, eps: float = 1e-5) -> None:
        super().__init__(normalized_shape, eps)
        self.weight = nn.Parameter(torch.zeros(self.normalized_shape))

    def normalize(self, x: Tensor) -> Tensor:
        """Compute an RMS norm with the gain 1 + weight."""
        gain = self.weight.to(torch.promote_types(self.weight.dtype, torch.float32)) + 1
        return rms_norm(x, self.normalized_shape, gain, self.eps)
