"""Derf: a learned error function of each element instead of a norm."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from app.norms.base import Norm, Shape
from app.norms.context import NormContext
from app.norms.dyt import alpha_of_language_models
from app.norms.functional import pointwise
from app.norms.options import AUTO, Auto
from app.norms.registry import register_norm


@register_norm("derf")
class Derf(Norm):
    """An elementwise error function with a learned slope and shift, without statistics.

    weight * erf(alpha x + shift) + bias

    alpha and shift, of shape (1,), are learned from `alpha_init` and `shift_init`; weight and bias, of
    `normalized_shape`, from 1 and 0; `eps` is accepted and not used. With `alpha_init` auto, alpha begins as DyT's does
    in language models: that table agrees with the 1 that Derf's authors take for GPT-2; they give no other width. Chen
    et al. 2025, "Stronger Normalization-Free Transformers" (arXiv 2512.10938), equation 10, and their ViT code. They
    claim better scores than LayerNorm, RMSNorm and DyT in vision, speech and DNA models, by better generalization
    rather than a better fit.

    Raises:
        ValueError: if a start value is not finite.
    """

    short_options: ClassVar[Mapping[str, str]] = {"alpha": "alpha_init", "shift": "shift_init"}

    def __init__(
        self, normalized_shape: Shape, eps: float = 1e-5, *, alpha_init: float | Auto = 0.5, shift_init: float = 0.0
    ) -> None:
        super().__init__(normalized_shape, eps)
        self.check_options(alpha_init=alpha_init, shift_init=shift_init)
        if alpha_init == AUTO:  # outside any model
            alpha_init = alpha_of_language_models(self.normalized_shape, NormContext())
        self.alpha_init = alpha_init
        self.shift_init = shift_init
        self.alpha = nn.Parameter(torch.full((1,), float(alpha_init)))
        self.shift = nn.Parameter(torch.full((1,), float(shift_init)))
        self.weight = nn.Parameter(torch.ones(self.normalized_shape))
        self.bias = nn.Parameter(torch.zeros(self.normalized_shape))

    @classmethod
    def resolve_options(cls, normalized_shape: Shape, context: NormContext, **options: Any) -> dict[str, Any]:
        """Choose `alpha_init` by width and role."""
        if options["alpha_init"] == AUTO:
            options["alpha_init"] = alpha_of_language_models(normalized_shape, context)
        return options

    def normalize(self, x: Tensor) -> Tensor:
        """Compute the formula; of the activations, only x is saved for backward."""
        return pointwise(x, "erf", self.alpha, self.shift, self.weight, self.bias)
