"""Helpers to run a model once, to see what it does, and leave it as it was."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
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
def left_as_it_was(model: nn.Module) -> Iterator[None]:
    """Undo what forward passes in the block change of a model and of random states.

    Of the model, these are buffers, hooks, and attributes such as a recurrent state; of random states, those of torch
    (all devices in use), numpy and Python.
    """
    attributes = {module: dict(vars(module)) for module in model.modules()}
    tables = {
        module: {name: copy.copy(held) for name, held in kept.items() if isinstance(held, dict)}
        for module, kept in attributes.items()
    }  # of parameters, buffers, modules and hooks, which are changed in place
    buffers = {buffer: buffer.detach().clone() for buffer in model.buffers()}
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    states = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        np.random.set_state(states[0])
        random.setstate(states[1])
        for module, kept in attributes.items():
            for name in vars(module).keys() - kept.keys():
                del vars(module)[name]
            vars(module).update(kept)
            for name, held in tables[module].items():
                vars(module)[name].clear()
                vars(module)[name].update(held)
        with torch.no_grad():
            for buffer, value in buffers.items():
                if not torch.equal(buffer, value):  # a constant may be needed for derivatives, which forbid a change
                    buffer.copy_(value)


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
