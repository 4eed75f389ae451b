"""Beam search and greedy search by Hugging Face's generate, with a separate length limit for each sentence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from app.errors import InputError

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel


@dataclass(frozen=True)
class DecodingConfig:
    """How translations are searched for.

    Args:
        beams: number of hypotheses that are kept; 1 is greedy search.
        length_penalty: hypotheses are ranked by log probability / length ** length_penalty; more favours longer ones.
        max_ratio: a translation ends after max_ratio * source tokens + max_extra tokens at the latest.
        max_extra: see max_ratio.
        fraction: fraction of the examples that are translated and scored, evenly spread over the split; 0 for none.
            Predict translates all.
    """

    beams: int = 5
    length_penalty: float = 1.0
    max_ratio: float = 2.0
    max_extra: int = 10
    fraction: float = 1.0

    def __post_init__(self) -> None:
        if self.beams < 1:
            raise InputError(f"decoding beams is {self.beams}; must be >= 1 (1 is greedy search)")
        if not math.isfinite(self.length_penalty):
            raise InputError(f"decoding length_penalty is {self.length_penalty}; must be finite")
        if not (self.max_ratio >= 0 and self.max_extra >= 0 and 1 <= self.max_ratio + self.max_extra < math.inf):
            raise InputError(
                f"decoding max_ratio is {self.max_ratio} and max_extra {self.max_extra}; both must be >= 0, and their "
                "sum >= 1, so that a token fits"
            )
        if not 0 <= self.fraction <= 1:
            raise InputError(f"decoding fraction is {self.fraction}; must be >= 0 and <= 1")

    def includes(self, index: int) -> bool:
        """Whether the example at a position is in the fraction; independent of other examples; includes the first."""
        return math.ceil((index + 1) * self.fraction) > math.ceil(index * self.fraction)


def start_token(model: PreTrainedModel) -> int:
    """Return the token that a decoder begins with.

    Raises:
        InputError: if neither the model nor the tokenizer defines it.
    """
    for config in (model.config, model.generation_config):
        for name in ("decoder_start_token_id", "bos_token_id"):
            token = getattr(config, name, None)
            if token is not None:
                return int(token)
    raise InputError(
        f"model_type {model.config.model_type!r} does not define the token that its decoder begins with; set "
        "model.backbone.options.decoder_start_token_id"
    )


def generation_config(model: PreTrainedModel, how: DecodingConfig, longest: int) -> GenerationConfig:
    """Return Hugging Face's settings for a search, without the limits of single sentences.

    Args:
        model: defines the special tokens.
        how: beams and length penalty.
        longest: number of tokens after which every translation ends.
    """
    from transformers import GenerationConfig

    return GenerationConfig(
        num_beams=how.beams,
        length_penalty=how.length_penalty,
        early_stopping=how.beams > 1,  # as in fairseq: a sentence is done when `beams` hypotheses have ended
        do_sample=False,
        max_new_tokens=longest,
        decoder_start_token_id=start_token(model),
        eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id,
        bos_token_id=getattr(model.config, "bos_token_id", None),  # T5 has none
    )


def translate(
    model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor, how: DecodingConfig
) -> list[list[int]]:
    """Find the best translation of each source.

    A translation does not depend on the other sentences of the batch, except for the order of additions over padding.

    Args:
        model: a sequence to sequence model in eval mode.
        input_ids: (B, S) int64.
        attention_mask: (B, S), 1 at real tokens.
        how: beams, length penalty and limits.

    Returns:
        B lists of token ids, special ones included.
    """
    from transformers import LogitsProcessor, LogitsProcessorList  # here: importing takes seconds

    limits = (attention_mask.sum(1) * how.max_ratio).long() + how.max_extra  # (B,)
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None:
        limits = limits.clamp(max=positions - 1)
    eos = model.config.eos_token_id

    class MaxLengthLogitsProcessor(LogitsProcessor):  # type: ignore[misc]
        """Forces a hypothesis to end at its limit."""

        rows = limits.repeat_interleave(how.beams)  # (B * beams,)
        first = int(limits.min())

        def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
            """Mask scores (B * beams, V), given ids (B * beams, length so far)."""
            length = input_ids.shape[1]  # with the start token, in place of the end that is still to come
            if length < self.first:
                return scores
            over = (self.rows <= length).unsqueeze(1)
            ended = scores.masked_fill(over, -torch.inf)
            ended[:, eos] = torch.where(over.squeeze(1), 0.0, scores[:, eos])
            return ended

    config = generation_config(model, how, int(limits.max()))
    own, model.generation_config = model.generation_config, config  # as an argument it would be merged with its own
    try:
        sequences = model.generate(
            input_ids, attention_mask=attention_mask, logits_processor=LogitsProcessorList([MaxLengthLogitsProcessor()])
        )
    finally:
        model.generation_config = own
    return sequences[:, 1:].tolist()  # without the start token
