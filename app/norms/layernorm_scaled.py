"""LayerNorm Scaling: a norm whose output shrinks with the depth of its block."""

from typing import Any

import torch
from torch import Tensor, nn

from app.norms.base import Norm, Shape
from app.norms.context import NormContext
from app.norms.functional import layer_norm, rms_norm
from app.norms.options import AUTO, Auto
from app.norms.registry import register_norm

_BASES = ("layernorm", "rmsnorm")
_SCALED_ROLES = ("attention", "cross_attention", "ffn")


@register_norm("layernorm_scaled")
class LayerNormScaled(Norm):
    """LayerNorm or RMSNorm, divided by the square root of the number of its block.

    (weight * y + bias) / sqrt(layer),  y = (x - mu) / sqrt(var + eps);  with `base` rmsnorm,
    weight * x / sqrt(mean(x^2) + eps) / sqrt(layer)

    mu, var and mean over `normalized_shape`; weight and bias, of `normalized_shape`, are learned from 1 and 0. `layer`
    auto is the number of the block, from 1, for a norm of its attention, cross-attention or feed-forward network, and
    1 for any other, such as the final one. Sun et al. 2025, "The Curse of Depth in Large Language Models" (arXiv
    2502.05795), section 4: in pre-norm models the variance of the stream grows with depth and makes deep blocks
    identities. They claim a lower perplexity of LLaMA models from 130M to 7B, and that a depth-scaled initialization,
    such as GPT-2's, takes part of it away.

    Raises:
        ValueError: if `base` is neither layernorm nor rmsnorm, or `layer` is below 1.
    """

    detaches_mean: bool | None = False
    detaches_sigma: bool | None = False

    def __init__(
        self, normalized_shape: Shape, eps: float = 1e-5, *, base: str = "layernorm", layer: int | Auto = AUTO
    ) -> None:
        super().__init__(normalized_shape, eps)
        self.check_options(base=base, layer=layer)
        self.base = base
        self.layer = 1 if layer == AUTO else layer
        self.weight = nn.Parameter(torch.ones(self.normalized_shape))
        if base == "layernorm":
            self.bias = nn.Parameter(torch.zeros(self.normalized_shape))
        else:
            self.detaches_mean = self.detaches_sigma = None

    @classmethod
    def check_options(cls, **options: Any) -> None:
        """Refuse another base, and blocks before the first."""
        super().check_options(**options)
        if options["base"] not in _BASES:
            raise ValueError(f"base is {options['base']!r}; allowed: {', '.join(_BASES)}")
        if options["layer"] != AUTO and options["layer"] < 1:
            raise ValueError(f"layer must be >= 1 or auto, got {options['layer']}")

    @classmethod
    def resolve_options(cls, normalized_shape: Shape, context: NormContext, **options: Any) -> dict[str, Any]:
        """Choose `layer` by block and role."""
        if options["layer"] == AUTO:
            options["layer"] = (context.layer or 1) if context.role in _SCALED_ROLES else 1
        return options

    def normalize(self, x: Tensor) -> Tensor:
        """Compute the formula by the base's kernel, with gain and bias scaled, which are much smaller than x."""
        factor = self.layer**-0.5
        if self.base == "rmsnorm":
            return rms_norm(x, self.normalized_shape, self.weight * factor, self.eps)
        return layer_norm(x, self.normalized_shape, self.eps, self.weight * factor, self.bias * factor)

    def gradient_at_y(self, gradient: Tensor, x: Tensor) -> Tensor:
        """Divide the gradient by sqrt(layer); with base layernorm, multiply it by weight too, as `layernorm` does."""
        at_base = gradient * self.layer**-0.5
        return at_base if self.base == "rmsnorm" else at_base * self.weight
