"""Modules and hooks by which a norm stands where a model has none.

A hook is a function of this file and finds its norm, and the stream that it needs, on the module that it hangs on. So a
copy of the model, in this process or another, has hooks of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from app.backbones.one_pass import tensors_in, with_tensor
from app.errors import InputError

INPUT, OUTPUT, POST, END, SCALE = "input_norm", "output_norm", "post_norm", "end_norm", "branch_scale"


class Stream:
    """A state of the residual stream, kept by one module of a block for another in the same forward pass."""

    def __init__(self) -> None:
        self.x: Tensor | None = None

    def get(self) -> Tensor:
        """Return the state that this forward pass has kept."""
        assert self.x is not None, "a block is called as a whole"
        return self.x

    def forget(self) -> None:
        """Let go of the state, and so of the activations and the graph behind it."""
        self.x = None

    def __getstate__(self) -> dict[str, Any]:
        return dict.fromkeys(vars(self))  # a copy begins without a state


class Slot(nn.Module):
    """What stands in the place of a model's own norm.

    y = norm_factor N(x + (residual_factor - 1) r + b), with N the identity where there is no norm

    Args:
        norm: the norm; None for the identity.
        keeps: where x is kept.
        gives: where y is kept.
        residual: r, a part of x that is to count `residual_factor` times.
        residual_factor: see above.
        norm_factor: see above.
        shortcut: b, what else is added.
    """

    def __init__(
        self,
        norm: nn.Module | None,
        keeps: Stream | None = None,
        gives: Stream | None = None,
        residual: Stream | None = None,
        residual_factor: float = 1.0,
        norm_factor: float = 1.0,
        shortcut: Stream | None = None,
    ) -> None:
        super().__init__()
        self.norm = norm
        self.keeps, self.gives, self.residual, self.shortcut = keeps, gives, residual, shortcut
        self.residual_factor, self.norm_factor = residual_factor, norm_factor

    def forward(self, x: Tensor) -> Tensor:
        """Compute y from x, (..., H)."""
        if self.keeps is not None:
            self.keeps.x = x
        if self.residual is not None:
            x = x + (self.residual_factor - 1) * self.residual.get()
        if self.shortcut is not None:
            x = x + self.shortcut.get()
        y: Tensor = x if self.norm is None else self.norm(x)
        if self.norm_factor != 1:
            y = y * self.norm_factor
        if self.gives is not None:
            self.gives.x = y
        return y


class SharedInput(Stream):
    """The input of a branch and its norm, for the other entries: queries, keys and values of one input."""

    def __init__(self) -> None:
        super().__init__()
        self.y: Tensor | None = None

    def forget(self) -> None:
        """Let go of both."""
        self.x = self.y = None


def norm_inputs(entries: Sequence[nn.Module], norm: nn.Module) -> SharedInput:
    """Normalize what a branch reads, at each of the modules that read it, the first of which gets the norm."""
    shared = SharedInput()
    for number, module in enumerate(entries):
        if number == 0:
            module.add_module(INPUT, norm)
        module.shared_input = shared  # type: ignore[assignment]
        module.register_forward_pre_hook(_normalize_input, with_kwargs=True)
    return shared


def norm_output(module: nn.Module, norm: nn.Module, width: int | None = None) -> None:
    """Normalize what a module gives, all features together or in groups of a width, such as those of a head."""
    module.add_module(OUTPUT, norm)
    module.output_width = width  # type: ignore[assignment]
    module.register_forward_hook(_normalize_output)


def scale_output(module: nn.Module, scale: Tensor) -> None:
    """Multiply what a module gives by a learned factor, or a vector of them."""
    module.register_parameter(SCALE, nn.Parameter(scale))
    module.register_forward_hook(_scale_output)


def branch_scales(model: nn.Module) -> list[nn.Parameter]:
    """Return the learned factors of branches that `scale_output` has put into a model."""
    return [parameter for name, parameter in model.named_parameters() if name.rpartition(".")[2] == SCALE]


def norm_sum(
    module: nn.Module, norm: nn.Module, stream: Stream, residual_factor: float, shortcut: Stream | None
) -> None:
    """Have a block that adds the output z of a module to its stream x compute N(residual_factor x + z + b) instead.

    The module gives N(residual_factor x + z + b) - x, to which the block adds x.
    """
    module.add_module(POST, norm)
    module.stream, module.residual_factor, module.shortcut = stream, residual_factor, shortcut  # type: ignore[assignment]
    module.register_forward_hook(_normalize_sum)


def norm_end(block: nn.Module, norm: nn.Module) -> None:
    """Normalize what the last block of a stack gives."""
    block.add_module(END, norm)
    block.register_forward_hook(_normalize_end)


def keep_input(module: nn.Module, stream: Stream) -> None:
    """Keep the first tensor that a module gets."""
    module.kept_input = stream  # type: ignore[assignment]
    module.register_forward_pre_hook(_keep_input, with_kwargs=True, prepend=True)  # before a norm of its input


def forget_at_end(block: nn.Module, streams: Sequence[Stream]) -> None:
    """Let go of what a block's modules keep for each other when the block ends."""
    block.streams = list(streams)  # type: ignore[assignment]
    block.register_forward_hook(_forget)


def first_float(values: Any) -> Tensor:
    """Return the first tensor of floating point, which is the stream in the arguments and outputs of a block."""
    return next(value for value in tensors_in(values) if value.is_floating_point())


def _normalize_input(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    x, shared = first_float([args, kwargs]), module.shared_input
    if INPUT in module._modules:
        shared.x, shared.y = x, module.input_norm(x)
    elif shared.x is not x:
        raise RuntimeError(
            f"{type(module).__name__} reads another input than the norm before it; use another placement"
        )
    y = shared.y
    return tuple(y if value is x else value for value in args), {k: y if v is x else v for k, v in kwargs.items()}


def _normalize_output(module: Any, args: Any, output: Any) -> Any:
    z = first_float(output)
    if module.output_width is None:
        return with_tensor(output, z, module.output_norm(z))
    return with_tensor(output, z, module.output_norm(z.unflatten(-1, (-1, module.output_width))).flatten(-2))


def _scale_output(module: Any, args: Any, output: Any) -> Any:
    z = first_float(output)
    return with_tensor(output, z, z * module.branch_scale)


def _normalize_sum(module: Any, args: Any, output: Any) -> Any:
    z, x = first_float(output), module.stream.get()
    if x.dtype in (torch.bfloat16, torch.float16):
        raise InputError(
            f"the residual stream is {x.dtype}, in which x + (N(x + z) - x) is not N(x + z); train in float32 or with "
            "trainer.precision bf16-mixed, or use a model whose own norms stand after the sum"
        )
    summed = (x if module.residual_factor == 1 else module.residual_factor * x) + z
    if module.shortcut is not None:
        summed = summed + module.shortcut.get()
    return with_tensor(output, z, module.post_norm(summed) - x)


def _normalize_end(block: Any, args: Any, output: Any) -> Any:
    x = first_float(output)
    return with_tensor(output, x, block.end_norm(x))


def _keep_input(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    module.kept_input.x = first_float([args, kwargs])


def _forget(block: Any, args: Any, output: Any) -> None:
    for stream in block.streams:
        stream.forget()
