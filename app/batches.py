"""What flows from data to tasks: one typed batch per kind, and what a model must know of its data.

A batch says how many loss units (examples, target tokens) the whole optimizer update holds that it is a part of, over
all processes and accumulated batches. The batch plan knows; with it every part weights its loss so that the update is
that of the whole batch, with no communication.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor


@dataclass
class Batch:
    """Fields that every batch has.

    Args:
        index: (B,) int64, position of each example in its split; predictions are put back in order by it.
        loss_denominator: loss units of the whole update over all processes and accumulated batches.
        is_dummy: a process without an example of its own in this step computes a copied one that counts nothing.
    """

    index: Tensor  # (B,)
    loss_denominator: int
    is_dummy: bool

    IGNORED: ClassVar[int] = -100  # a label that counts nothing: what torch's cross_entropy leaves out by default

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """The same batch with all tensors on `device`."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """The same batch in page-locked memory (called by the DataLoader on machines with a GPU)."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, function: Any) -> Self:
        tensors = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return dataclasses.replace(self, **{k: function(v) for k, v in tensors.items() if isinstance(v, Tensor)})

    @property
    def tokens(self) -> int:
        """Units of input in this batch, for throughput: real tokens, or examples where there are no tokens."""
        return 0 if self.is_dummy else len(self.index)


@dataclass
class TextBatch(Batch):
    """Sentences, right-padded to the longest of the batch, with a class each."""

    input_ids: Tensor  # (B, T) int64
    attention_mask: Tensor  # (B, T) int64, 1 at real tokens
    labels: Tensor  # (B,) int64
    real_tokens: int  # sum of attention_mask, known without asking the device
    texts: list[str] = field(default_factory=list)  # B, as they were read, to predict for; empty in training

    @property
    def tokens(self) -> int:
        """Real tokens of the batch."""
        return 0 if self.is_dummy else self.real_tokens

    def model_inputs(self) -> dict[str, Tensor]:
        """Keyword arguments of a Hugging Face encoder."""
        return {"input_ids": self.input_ids, "attention_mask": self.attention_mask}


@dataclass
class TranslationBatch(Batch):
    """Pairs of sentences, each side right-padded to its longest of the batch."""

    input_ids: Tensor  # (B, S) int64, the source
    attention_mask: Tensor  # (B, S) int64, 1 at real tokens
    labels: Tensor  # (B, T) int64, the target with its end; IGNORED at padding
    sources: list[str]  # B texts, as they were read
    references: list[str]  # B texts, as they were read; empty ones where there are none
    real_tokens: int  # of both sides, known without asking the device
    target_tokens: int  # of the target alone: the loss units

    @property
    def tokens(self) -> int:
        """Real tokens of both sides."""
        return 0 if self.is_dummy else self.real_tokens


@dataclass
class ByteBatch(Batch):
    """Rows of bytes, right-padded to the longest of the batch; the input at a position is the byte before its label."""

    input_ids: Tensor  # (B, T) int64, the bytes themselves; 0 at padding
    labels: Tensor  # (B, T) int64, the byte to predict at each position; IGNORED at mere context and at padding
    stream: Tensor  # (B,) int64, which contiguous stream each row goes on with; -1 for independent windows
    begins: bool  # the rows are the first of their streams in this pass: a model forgets what it has in memory
    target_bytes: int  # labels that count: the loss units; a row whose stream has ended has none

    @property
    def tokens(self) -> int:
        """Bytes that are predicted."""
        return 0 if self.is_dummy else self.target_bytes


class WritesTree(Protocol):
    """Writes a sentence with a tree; a function, because Lightning looks for tensors in any other object."""

    def __call__(self, heads: Sequence[int], relations: Sequence[str] | None) -> str:
        """The sentence in CoNLL-U with these heads (0 is the root) and relations."""


@dataclass
class ParsingBatch(Batch):
    """Sentences of words with a tree each. Word 0 is the root, before the words themselves; W is the longest sentence.

    Subwords, and features of words that the datamodule was not asked for, are None.
    """

    PAD: ClassVar[int] = 0  # ids that mean the same in the vocabularies of words, tags and characters
    UNKNOWN: ClassVar[int] = 1
    ROOT: ClassVar[int] = 2

    lengths: Tensor  # (B,) int64, words of each sentence
    words: Tensor  # (B, W + 1) int64; 0 at padding, as in tags and characters
    tags: Tensor | None  # (B, W + 1) int64
    characters: Tensor | None  # (B, W + 1, C) int64
    input_ids: Tensor | None  # (B, T) int64, subwords; the first one is a special one and stands for the root
    word_of_subword: Tensor | None  # (B, T) int64, 0 to W; W + 1 at what belongs to no word
    attention_mask: Tensor | None  # (B, T) int64, 1 at real subwords
    heads: Tensor  # (B, W) int64, 0 to W; IGNORED at padding
    relations: Tensor  # (B, W) int64; IGNORED at padding and for one that training lacks; zeros where data has none
    projective_heads: Tensor  # (B, W) int64, those that transitions can build: `heads` but for non-projective trees
    scored: Tensor  # (B, W, G) bool, words that count in each of the G further scores
    writers: list[WritesTree]  # B; they write predictions into the sentences that were read; empty in training
    real_words: int  # sum of lengths, known without asking the device
    forms: list[tuple[str, ...]] = field(default_factory=list)  # B; the words, to predict for; empty in training

    @property
    def tokens(self) -> int:
        """Words."""
        return 0 if self.is_dummy else self.real_words

    @property
    def is_word(self) -> Tensor:
        """(B, W) bool, False at padding."""
        return self.heads != self.IGNORED


@dataclass
class ImageBatch(Batch):
    """Images with a class each."""

    pixel_values: Tensor  # (B, C, H, W) float32, standardised
    labels: Tensor  # (B,) int64

    def model_inputs(self) -> dict[str, Tensor]:
        """Keyword arguments of a Hugging Face image encoder."""
        return {"pixel_values": self.pixel_values}


@dataclass(frozen=True)
class DataSpec:
    """What the data dictates to the model; the one link from a datamodule to a task.

    Args:
        model_options: options of the backbone's config that follow from the data, such as vocab_size,
            pad_token_id, image_size and num_channels.
        labels: the classes in the order of their ids.
        max_length: most tokens of a sequence, special ones included, that a model must take; None where there are none.
        vocabulary: digest of the tokenizer and of all vocabularies: ids mean the same where it is the same.
        decode: lists of token ids to texts, for tasks whose predictions are text.
        target_language: code of the language that predictions are in, such as de.
        has_streams: batches go on where the ones before ended, and a model is to carry its memory along.
        baselines: bits per byte that compressors need for the test part, by their names.
        features: entries of the vocabularies of words, tags and characters, by these names, as far as there are any.
        root_labels: for each of `labels`, whether it marks roots and nothing else; empty where the data has none.
        score_groups: names of the further scores that leave words out, such as punct.
        batch: kind of the batches, which tells the tasks that the data is for; None leaves it unsaid.
    """

    model_options: dict[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    max_length: int | None = None
    vocabulary: str = ""
    decode: Callable[[Sequence[Sequence[int]]], list[str]] | None = None
    target_language: str = ""
    has_streams: bool = False
    baselines: dict[str, float] = field(default_factory=dict)
    features: dict[str, int] = field(default_factory=dict)
    root_labels: tuple[bool, ...] = ()
    score_groups: tuple[str, ...] = ()
    batch: type[Batch] | None = None
