"""What a task gives to an export: its forward pass as a function of tensors, and the Python that applies it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class ForwardPass(nn.Module):
    """A forward pass as a function of tensors, which is what ONNX can hold of a model.

    Search is not part of it: beam search, sampling, spanning trees and the parser's transitions stay in Python.

    Args:
        module: has the weights.
        compute: takes the module and the inputs in their order, and returns a tuple of outputs.
        inputs: example inputs by name.
        other_inputs: the same with other sizes, for a batch of one.
        dims: for each input, names of its leading dimensions, which may have any size; the others are fixed.
        output_names: names of the outputs.
    """

    def __init__(
        self,
        module: nn.Module,
        compute: Callable[..., tuple[Tensor, ...]],
        inputs: dict[str, Tensor],
        other_inputs: dict[str, Tensor],
        dims: dict[str, tuple[str, ...]],
        output_names: tuple[str, ...],
    ) -> None:
        super().__init__()
        self.module, self.compute = module, compute
        self.inputs, self.other_inputs, self.dims, self.output_names = inputs, other_inputs, dims, output_names

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The outputs, in the order of `output_names`."""
        return self.compute(self.module, *inputs)

    @property
    def dynamic_shapes(self) -> tuple[Any, ...]:
        """`dims` in the form of torch.onnx.export: nested as the arguments of `forward` are."""
        return (tuple(dict(enumerate(self.dims[name])) for name in self.inputs),)


def example_ids(rows: int, tokens: int, size: int) -> Tensor:
    """Made-up ids below `size`, (rows, tokens) int64."""
    return (torch.arange(rows * tokens).view(rows, tokens) * 7 + 3) % size


def example_mask(rows: int, tokens: int) -> Tensor:
    """A mask with two padded positions at the end of the last row, (rows, tokens) int64."""
    mask = torch.ones(rows, tokens, dtype=torch.int64)
    mask[-1, tokens - 2 :] = 0
    return mask


def loading_lines(auto_class: str, folder: str, is_stock: bool, tokenizer: bool = False, head: bool = False) -> str:
    """Python that loads an exported `model`, and on request its `tokenizer` and its `head`.

    Args:
        auto_class: Auto class of transformers that loads the model.
        folder: the exported folder.
        is_stock: whether stock transformers loads the model.
        tokenizer: whether the folder has a tokenizer.
        head: whether the folder has the weights of the task's own head.
    """
    names = [auto_class] * is_stock + ["AutoTokenizer"] * tokenizer
    lines = ["import torch"]
    lines += ["from safetensors.torch import load_file"] * head
    lines += [f"from transformers import {', '.join(names)}"] if names else []
    lines += [] if is_stock else ["", "from app.backbones import load_model"]
    lines += ["", f"folder = {folder!r}"]
    lines += ["tokenizer = AutoTokenizer.from_pretrained(folder)"] * tokenizer
    lines += [f"model = {f'{auto_class}.from_pretrained' if is_stock else 'load_model'}(folder)"]
    lines += ['head = load_file(f"{folder}/head.safetensors")'] * head
    return "\n".join(lines) + "\n"
