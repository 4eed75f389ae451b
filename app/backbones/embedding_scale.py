"""A learned factor on what enters the first block of each stack, as language models with DyT or Derf need it.

It is a module of the block, so that state dicts, optimizers and parameter counts have it, and a hook on the block
applies it. The hook is a function of this file that looks the module up, so a copied, pickled or compiled model, and
one under gradient checkpointing, keep it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from app.backbones.context import Contexts
from app.backbones.trace import is_hidden
from app.errors import InputError
from app.norms import AUTO, NormSpec

_NAME = "embedding_scale"


class EmbeddingScale(nn.Module):
    """A learned factor.

    weight * x

    weight, of shape (1,), is learned from `init`. Zhu et al. 2025, "Transformers without Normalization", section 7,
    and Chen et al. 2025, "Stronger Normalization-Free Transformers", put it after the embeddings of language models
    and start it at the root of their width.
    """

    def __init__(self, init: float) -> None:
        super().__init__()
        self.init = init
        self.weight = nn.Parameter(torch.full((1,), init))
        self.hook: RemovableHandle | None = None  # on the block

    def forward(self, x: Tensor) -> Tensor:
        """Scale x in its dtype, whatever the factor's is."""
        return (x * self.weight).to(x.dtype)

    def extra_repr(self) -> str:
        """Return the start value."""
        return f"init={self.init:g}"


def embedding_scales(model: nn.Module) -> dict[str, EmbeddingScale]:
    """Return the factors of a model by the paths of the blocks whose inputs they scale."""
    return {
        path.removesuffix(f".{_NAME}"): module
        for path, module in model.named_modules()
        if isinstance(module, EmbeddingScale)
    }


def scale_inits(model: nn.Module) -> dict[str, float]:
    """Return the start values of a model's factors by the paths of blocks, in plain types."""
    return {path: scale.init for path, scale in embedding_scales(model).items()}


def chosen_scales(model: nn.Module, spec: NormSpec, contexts: Contexts) -> dict[str, float]:
    """Return the start values that a spec asks for, by the paths of blocks; the model is not changed.

    Raises:
        InputError: if the first blocks cannot be found, or one of them runs several times in a forward pass.
    """
    if spec.embedding_scale is None:
        return {}
    name = type(model).__name__
    if contexts.fault is not None:
        raise InputError(f"{_NAME} needs one forward pass, which {name} refused ({contexts.fault}); omit it")
    if not contexts.first_blocks:
        raise InputError(f"{_NAME}: {name} has no blocks that each take and give hidden states (B, T, H); omit it")
    for block in contexts.first_blocks:
        if block.runs > 1:
            raise InputError(
                f"{_NAME}: {block.path} of {name} is its first block and runs {block.runs} times in a forward pass, "
                "so its input would be scaled each time; omit it"
            )
    return {
        block.path: math.sqrt(block.width) if spec.embedding_scale == AUTO else spec.embedding_scale
        for block in contexts.first_blocks
    }


def set_embedding_scales(model: nn.Module, inits: Mapping[str, float]) -> None:
    """Let a model have these factors and no others; one that is there with the same start value keeps its value.

    Args:
        model: the model.
        inits: start values by the paths of blocks.

    Raises:
        AttributeError: if there is no such block.
    """
    present = embedding_scales(model)
    for path, scale in present.items():
        if inits.get(path) != scale.init:
            if scale.hook is not None:
                scale.hook.remove()
            delattr(model.get_submodule(path), _NAME)
    for path, init in inits.items():
        if path not in present or present[path].init != init:
            _add(model.get_submodule(path), init)


def _add(block: nn.Module, init: float) -> None:
    parameters = [parameter for parameter in block.parameters() if parameter.is_floating_point()]
    scale = EmbeddingScale(init).train(block.training)
    if parameters:
        scale.to(parameters[0].device, parameters[0].dtype)
        scale.requires_grad_(any(parameter.requires_grad for parameter in parameters))
    scale._is_hf_initialized = True  # type: ignore[assignment]  # or init_weights() would see it as new
    block.add_module(_NAME, scale)
    # before hooks of a placement, which may keep what enters the block
    scale.hook = block.register_forward_pre_hook(_scale_input, with_kwargs=True, prepend=True)


def _scale_input(
    block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Scale the hidden states: the first argument that can be them, as for the trace."""
    scale = block.get_submodule(_NAME)
    for position, value in enumerate(args):
        if is_hidden(value):
            return (*args[:position], scale(value), *args[position + 1 :]), kwargs
    for key, value in kwargs.items():
        if is_hidden(value):
            return args, {**kwargs, key: scale(value)}
    raise TypeError(f"{type(block).__name__} was called without hidden states, which {_NAME} scales")
