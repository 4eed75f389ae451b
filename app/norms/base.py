"""The norm contract, stated once: what every normalization of the registry is and promises.

A norm takes `(..., *normalized_shape)` and gives the same shape, dtype and device back. Its statistics are taken in
float32 even for half-precision input, with the population variance (divide by H) and eps inside the root. Every
parameter it registers is used by `forward`, so that DistributedDataParallel finds no unused one. It draws no random
numbers, works under `torch.compile(fullgraph=True)`, gradient checkpointing, `deepcopy` and `state_dict`, and under
autocast gives the dtype that `nn.LayerNorm` gives.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Norm(nn.Module, ABC):
    """Base of all norms: knows its trailing shape and eps, checks its input.

    Subclasses add their options as keyword-only arguments with a type and a default; these are what
    `--norm.options` accepts. A gain is called `weight` and a bias `bias`, as in `nn.LayerNorm`, so that
    injection can carry both over.

    Args:
        normalized_shape: trailing dimensions normalized together; H is their product.
        eps: added to the variance (or mean square), inside the root.

    Raises:
        ValueError: for an empty or non-positive shape, or a negative or non-finite eps.
    """

    def __init__(self, normalized_shape: int | Iterable[int], eps: float = 1e-5) -> None:
        super().__init__()
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        if not shape or any(size < 1 for size in shape):
            raise ValueError(f"normalized_shape must be one or more positive sizes, got {normalized_shape!r}")
        if not (math.isfinite(eps) and eps >= 0):
            raise ValueError(f"eps must be finite and not negative, got {eps!r}")
        self.normalized_shape = shape
        self.eps = float(eps)

    @abstractmethod
    def normalize(self, x: Tensor) -> Tensor:
        """Compute the norm of x, (..., *normalized_shape), whose shape has been checked."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x over its last `len(normalized_shape)` dimensions.

        Raises:
            ValueError: if x does not end in `normalized_shape`.
        """
        if tuple(x.shape[-len(self.normalized_shape) :]) != self.normalized_shape:
            raise ValueError(
                f"{type(self).__name__} normalizes over {self.normalized_shape}, got input of shape {tuple(x.shape)}: "
                "its last dimensions must be those"
            )
        if x.is_cuda and x.dtype in (torch.float16, torch.bfloat16) and torch.is_autocast_enabled("cuda"):
            x = x.float()  # CUDA autocast runs layer_norm in float32 and leaves the result there; on CPU it does not
        return self.normalize(x)

    def extra_repr(self) -> str:
        """Shape, eps and options, as `nn.LayerNorm` prints them."""
        options = {name: getattr(self, name) for name in option_signature(type(self))}
        parts = [f"{self.normalized_shape}", f"eps={self.eps:g}", *(f"{k}={v}" for k, v in options.items())]
        return ", ".join(parts)


def option_signature(cls: type[Norm]) -> dict[str, inspect.Parameter]:
    """The options of a norm class: the keyword-only parameters of its `__init__`, in order of definition."""
    parameters = inspect.signature(cls, eval_str=True).parameters
    return {name: p for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
