"""Helpers to run a model once, to see what it does, and leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put all modules into eval mode, and each back into its own mode at the end."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def attributes_kept(model: nn.Module) -> Iterator[None]:
    """Give every module back the attributes that it has now, such as a recurrent state that a forward pass keeps.

    Parameters, buffers and submodules that are added or removed in the block are not undone.
    """
    before = {module: dict(vars(module)) for module in model.modules()}
    try:
        yield
    finally:
        for module, attributes in before.items():
            for name in vars(module).keys() - attributes.keys():
                del vars(module)[name]
            vars(module).update(attributes)


def tensors_in(output: Any) -> Iterator[Tensor]:
    """Yield the tensors of a model's output, in order, however they are nested."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, (tuple, list)):
        for item in output:
            yield from tensors_in(item)
    elif isinstance(output, dict):
        for item in output.values():
            yield from tensors_in(item)


def with_tensor(output: Any, old: Tensor, new: Tensor) -> Any:
    """Return a model's output with one tensor in the place of another, however they are nested."""
    if output is old:
        return new
    if isinstance(output, dict):  # and ModelOutput
        for key, value in output.items():
            output[key] = with_tensor(value, old, new)
        return output
    if isinstance(output, (tuple, list)):
        values = [with_tensor(value, old, new) for value in output]
        return type(output)(*values) if hasattr(output, "_fields") else type(output)(values)  # a named tuple, or not
    return output
