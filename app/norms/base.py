"""The contract of every normalization in the registry, stated once.

A norm takes `(..., *normalized_shape)` and gives the same shape, dtype and device back; one with another `axis` takes
its features there, as in channels-first maps. Its statistics are taken in
float32 even for half-precision input, with the population variance (divide by H) and eps inside the root. Every
parameter that it registers is used by `forward`, so that DistributedDataParallel finds no unused one. It draws no
random numbers, works under `torch.compile(fullgraph=True)`, gradient checkpointing, `deepcopy` and `state_dict`, and
under autocast gives the dtype that `nn.LayerNorm` gives. Differentiated twice, it is correct or raises an error.

The tests of this contract run over the registry, so a new norm is tested as soon as it is registered. Ours also
save no more for backward than `nn.LayerNorm`, and the next module may overwrite their output in place.
"""

from __future__ import annotations

import inspect
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from app.norms.context import NormContext

Shape = int | Iterable[int]


# The kinds of device on which autocast computes layer_norm in float32; on CPU it does not.
_FLOAT32_UNDER_AUTOCAST = ("cuda", "xpu", "mps")


class Norm(nn.Module, ABC):
    """Base class of all norms: keeps shape and eps, and checks its input.

    Subclasses define `normalize` and add their options as keyword-only arguments with a type and a default; these are
    what `--norm.options` accepts, and each is kept in an attribute of its name. A gain is called `weight` and a
    bias `bias`, of `normalized_shape`, as in `nn.LayerNorm`, so that injection can carry both over.

    Args:
        normalized_shape: trailing dimensions normalized together; H is their product.
        eps: added to the variance (or mean square), inside the root.

    Raises:
        ValueError: for an empty or non-positive shape, or a negative or non-finite eps.
        TypeError: if a size is not an integer.
    """

    true_gradient: ClassVar[bool] = True
    """Whether backward is the derivative of forward; False where a part of forward is constant in backward."""

    detaches_mean: bool | None = None
    """Whether mu is a constant in backward; None where the output is not an elementwise map of y = (x - mu) / sigma or
    the paper's theorem does not cover it. The theorem gives mean and variance of the gradient that reaches x from those
    of g, the gradient at y, which `gradient_at_y` computes from the gradient at the output."""

    detaches_sigma: bool | None = None
    """Whether sigma is a constant in backward; None together with `detaches_mean`."""

    gain_offset: ClassVar[float] = 0.0
    """What `weight` lacks of the gain: 1 where the gain is 1 + weight."""

    axis: int = -1
    """Where the features are in the input: -1, or in a channels-first model -2, for (B, C, L), or -3, for (B, C, H, W);
    the model that a norm is put into decides it."""

    short_options: ClassVar[Mapping[str, str]] = {}
    """Other names by which options may be given, such as {"alpha": "alpha_init"}."""

    def __init__(self, normalized_shape: Shape, eps: float = 1e-5) -> None:
        super().__init__()
        sizes = normalized_shape if isinstance(normalized_shape, Iterable) else (normalized_shape,)
        shape = tuple(operator.index(size) for size in sizes)
        if not shape or any(size < 1 for size in shape):
            raise ValueError(f"normalized_shape must be one or more positive sizes, got {normalized_shape!r}")
        if not (math.isfinite(eps) and eps >= 0):
            raise ValueError(f"eps must be finite and not negative, got {eps!r}")
        self.normalized_shape = shape
        self.eps = float(eps)

    @classmethod
    def check_options(cls, **options: Any) -> None:
        """Refuse values of the right type that this norm cannot take; called as soon as a config is read.

        Raises:
            ValueError: if a float is not finite; a subclass may refuse more.
        """
        for name, value in options.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} must be finite, got {value!r}")

    @classmethod
    def resolve_options(cls, normalized_shape: Shape, context: NormContext, **options: Any) -> dict[str, Any]:
        """Return the options with a number in the place of each `auto`, chosen for where the norm stands.

        Args:
            normalized_shape: as for the constructor.
            context: role, layer and width; those of a norm outside any model are unknown.
            options: complete and checked.
        """
        return options

    @abstractmethod
    def normalize(self, x: Tensor) -> Tensor:
        """Compute the norm of x, (..., *normalized_shape), whose shape has been checked."""

    def features_last(self, x: Tensor) -> Tensor:
        """View x, an input or output of this norm or a gradient there, as (..., *normalized_shape)."""
        return x.movedim(self.axis, -1)

    def gradient_at_y(self, gradient: Tensor, x: Tensor) -> Tensor:
        """Compute the theorem's g from the gradient at this norm's output and its input x.

        Where the output is y, or y plus a constant, it is the gradient itself.
        """
        return gradient

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x over its last `len(normalized_shape)` dimensions, or over `axis`.

        Raises:
            ValueError: if x does not have `normalized_shape` there.
        """
        if self.axis != -1:
            x = self.features_last(x)
        if tuple(x.shape[-len(self.normalized_shape) :]) != self.normalized_shape:
            raise ValueError(
                f"{type(self).__name__} normalizes over {self.normalized_shape}, got input of shape {tuple(x.shape)}: "
                "its last dimensions must be those"
            )
        if autocast_to_float32(x.device.type, x.dtype):
            x = x.float()
        y = self.normalize(x)
        return y if self.axis == -1 else y.movedim(-1, self.axis)

    def extra_repr(self) -> str:
        """Return shape, eps and options in the form of `nn.LayerNorm`."""
        options = {name: getattr(self, name) for name in option_signature(type(self))}
        if self.axis != -1:
            options["axis"] = self.axis
        parts = [f"{self.normalized_shape}", f"eps={self.eps:g}", *(f"{k}={v}" for k, v in options.items())]
        return ", ".join(parts)


def autocast_to_float32(device_type: str, dtype: torch.dtype) -> bool:
    """Return whether autocast, if it is on, would compute layer_norm of this input in float32.

    The norms ask, because autocast knows aten's layer_norm but not a torch.autograd.Function.
    """
    is_half = dtype in (torch.float16, torch.bfloat16)
    return is_half and device_type in _FLOAT32_UNDER_AUTOCAST and torch.is_autocast_enabled(device_type)


def option_signature(cls: type[Norm]) -> dict[str, inspect.Parameter]:
    """Return the options of a norm class: the keyword-only parameters of its `__init__`, in order of definition."""
    parameters = inspect.signature(cls).parameters
    return {name: p for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
