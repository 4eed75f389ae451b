"""Continuing a prompt byte by byte, with a model that has a memory or one that has a window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from app.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class SamplingConfig:
    """How a text is continued.

    Args:
        length: number of bytes to add.
        temperature: divides the logits; below 1 favours likely bytes, 0 always takes the most likely one.
        top_k: draw among this number of most likely bytes; null for all.
        seed: seed of the draws; those of a prompt do not depend on other prompts.
    """

    length: int = 200
    temperature: float = 1.0
    top_k: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for key, least in (("length", 1), ("temperature", 0), ("top_k", 1), ("seed", 0)):
            value = getattr(self, key)
            if value is not None and not value >= least:
                raise InputError(f"sampling {key} is {value}; must be >= {least}")


def continue_prompt(
    model: PreTrainedModel, prompt: Tensor, how: SamplingConfig, position: int, with_memory: bool
) -> list[int]:
    """Return the bytes that a model adds to a prompt.

    Args:
        model: a causal model in eval mode.
        prompt: (T,) int64, at least one id.
        how: length, temperature, top_k and seed.
        position: number of the prompt; part of the seed.
        with_memory: whether the model was trained to carry its memory along; otherwise it sees a window of positions.
    """
    generator = torch.Generator().manual_seed((how.seed * 1_000_003 + position) % 2**63)
    steps = _with_memory(model, prompt) if with_memory else _with_window(model, prompt)
    logits = next(steps)
    added: list[int] = []
    while True:
        added.append(_draw(logits, how, generator))
        if len(added) == how.length:
            return added
        logits = steps.send(added[-1])


def has_memory(model: PreTrainedModel) -> bool:
    """Whether a model takes the hidden states of the previous segment (`mems`) and returns its own."""
    return (getattr(model.config, "mem_len", None) or 0) > 0


@torch.no_grad()
def is_causal(model: PreTrainedModel) -> bool:
    """Whether no output depends on a later input, tested by changing the last one."""
    was_training = model.training
    model.eval()
    ids = torch.zeros(2, 4, dtype=torch.int64)
    ids[1, -1] = 1
    logits = model(input_ids=ids).logits[:, :-1]
    model.train(was_training)
    return torch.allclose(logits[0], logits[1], rtol=1e-6, atol=1e-7, equal_nan=True)


def _draw(logits: Tensor, how: SamplingConfig, generator: torch.Generator) -> int:
    if how.temperature == 0:
        return int(logits.argmax())
    logits = logits.double().cpu() / how.temperature
    if how.top_k is not None:
        least = logits.topk(min(how.top_k, len(logits))).values[-1]
        logits = logits.where(logits >= least, -torch.inf)
    return int(torch.multinomial(logits.softmax(-1), 1, generator=generator))


def _with_memory(model: PreTrainedModel, prompt: Tensor) -> Iterator[Tensor]:
    """Yield the logits after the prompt, then after each byte that is sent."""
    memory, ids = None, prompt
    while True:
        for segment in ids.split(model.config.mem_len):
            output = model(input_ids=segment.unsqueeze(0), mems=memory, use_mems=True)
            memory = output.mems
        byte = yield output.logits[0, -1]
        ids = torch.tensor([byte], device=prompt.device)


def _with_window(model: PreTrainedModel, prompt: Tensor) -> Iterator[Tensor]:
    """Yield the same from a model that sees only the last bytes, as many as it has positions."""
    positions = getattr(model.config, "max_position_embeddings", None) or 0
    begin = -positions if positions > 0 else 0  # some models take any length
    no_cache = {"use_mems": False} if has_memory(model) else {"use_cache": False}
    ids = prompt
    while True:
        byte = yield model(input_ids=ids[begin:].unsqueeze(0), **no_cache).logits[0, -1]
        ids = torch.cat([ids, torch.tensor([byte], device=prompt.device)])
