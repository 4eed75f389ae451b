"""DynamicTanh: a learned tanh of each element instead of a norm."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from app.norms.base import Norm, Shape
from app.norms.context import NormContext
from app.norms.functional import pointwise
from app.norms.options import AUTO, Auto
from app.norms.registry import register_norm

_ALPHA_BY_WIDTH = {1024: (1.0, 1.0), 2048: (1.0, 0.5), 4096: (0.8, 0.2), 8192: (0.2, 0.05)}  # attention, all others


def alpha_of_language_models(normalized_shape: Shape, context: NormContext) -> float:
    """Return the start value of alpha that DyT's authors found best in language models, by width and role.

    Their table has the widths 1024, 2048, 4096 and 8192; the nearest on a logarithmic scale counts. Before attention
    alpha is 1, 1, 0.8 and 0.2, at all other norms 1, 0.5, 0.2 and 0.05. Zhu et al. 2025, section 7 (LLaMA).
    """
    sizes = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    width = context.width or math.prod(sizes)
    nearest = min(_ALPHA_BY_WIDTH, key=lambda known: abs(math.log(known / width)))
    return _ALPHA_BY_WIDTH[nearest][0 if context.role == "attention" else 1]


@register_norm("dyt")
class DynamicTanh(Norm):
    """An elementwise tanh with a learned slope, without statistics.

    weight * tanh(alpha x) + bias

    alpha, of shape (1,), is learned from `alpha_init`, or from `alpha_of_language_models` if that is auto; weight and
    bias, of `normalized_shape`, from 1 and 0; `eps` is accepted and not used. Zhu et al. 2025, "Transformers without
    Normalization", section 4.

    Raises:
        ValueError: if `alpha_init` is not finite.
    """

    short_options: ClassVar[Mapping[str, str]] = {"alpha": "alpha_init"}

    def __init__(self, normalized_shape: Shape, eps: float = 1e-5, *, alpha_init: float | Auto = 0.5) -> None:
        super().__init__(normalized_shape, eps)
        self.check_options(alpha_init=alpha_init)
        if alpha_init == AUTO:  # outside any model
            alpha_init = alpha_of_language_models(self.normalized_shape, NormContext())
        self.alpha_init = alpha_init
        self.alpha = nn.Parameter(torch.full((1,), float(alpha_init)))
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
        return pointwise(x, "tanh", self.alpha, None, self.weight, self.bias)
