"""What passes from data to tasks: a typed batch for each kind of data, and what a model must know of its data.

A batch knows the number of loss units (examples, target tokens) of the whole optimizer update that it belongs to, over
all processes and accumulated batches, from the batch plan. With it every process weights its loss so that the update is
that of the whole batch, without communication.
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
    """The fields that every batch has.

    Args:
        index: (B,) int64, position of each example in its split, by which predictions are put back in order.
        loss_denominator: loss units of the whole update, over all processes and accumulated batches.
        is_dummy: whether the process has no example of its own in this step, and computes a copy that does not count.
    """

    index: Tensor  # (B,)
    loss_denominator: int
    is_dummy: bool

    UNIT: ClassVar[str] = "examples"  # of `tokens`, in the plural
    IGNORED: ClassVar[int] = -100  # a label that does not count; torch's cross_entropy ignores it by default

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """Copy the batch to a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """Copy the batch to page-locked memory (called by the DataLoader on machines with a GPU)."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, function: Any) -> Self:
        tensors = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return dataclasses.replace(self, **{k: function(v) for k, v in tensors.items() if isinstance(v, Tensor)})

    @property
    def tokens(self) -> int:
        """The size of the input in `UNIT`, for throughput: real tokens, or examples where there are no tokens."""
        return 0 if self.is_dummy else len(self.index)


@dataclass
class TextBatch(Batch):
    """Sentences with one class each, right-padded to the longest of the batch."""

    UNIT: ClassVar[str] = "tokens"

    input_ids: Tensor  # (B, T) int64
    attention_mask: Tensor  # (B, T) int64, 1 at real tokens
    labels: Tensor  # (B,) int64
    real_tokens: int  # sum of attention_mask, known without asking the device
    texts: list[str] = field(default_factory=list)  # B, as they were read, for predictions; empty in training

    @property
    def tokens(self) -> int:
        """The number of real tokens."""
        return 0 if self.is_dummy else self.real_tokens

    def model_inputs(self) -> dict[str, Tensor]:
        """The keyword arguments of a Hugging Face encoder."""
        return {"input_ids": self.input_ids, "attention_mask": self.attention_mask}


@dataclass
class TranslationBatch(Batch):
    """Pairs of sentences, each side right-padded to its longest one in the batch."""

    UNIT: ClassVar[str] = "tokens"

    input_ids: Tensor  # (B, S) int64, the source
    attention_mask: Tensor  # (B, S) int64, 1 at real tokens
    labels: Tensor  # (B, T) int64, the target with its end mark; IGNORED at padding
    sources: list[str]  # B texts, as they were read
    references: list[str]  # B texts, as they were read; empty texts where there are none
    real_tokens: int  # of both sides, known without asking the device
    target_tokens: int  # of the target only: the loss units

    @property
    def tokens(self) -> int:
        """The number of real tokens of both sides."""
        return 0 if self.is_dummy else self.real_tokens


@dataclass
class ByteBatch(Batch):
    """Rows of bytes, right-padded to the longest of the batch; the input at a position is the byte before its label."""

    UNIT: ClassVar[str] = "bytes"

    input_ids: Tensor  # (B, T) int64, the bytes themselves; 0 at padding
    labels: Tensor  # (B, T) int64, the byte to predict at each position; IGNORED in context and at padding
    stream: Tensor  # (B,) int64, the contiguous stream that each row continues; -1 for independent windows
    begins: bool  # whether the rows are the first of their streams in this pass, so that a model clears its memory
    target_bytes: int  # number of labels that count: the loss units; none in a row whose stream has ended

    @property
    def tokens(self) -> int:
        """The number of bytes to predict."""
        return 0 if self.is_dummy else self.target_bytes


class WritesTree(Protocol):
    """A function that writes a sentence with a tree; of any other object, Lightning searches the fields for tensors."""

    def __call__(self, heads: Sequence[int] | None, relations: Sequence[str] | None) -> str:
        """The sentence in CoNLL-U with these heads (0 is the root) and relations; without heads, without a tree."""


@dataclass
class ParsingBatch(Batch):
    """Sentences of words with one tree each. Word 0 is the root; W is the length of the longest sentence.

    Subwords and features of words that are not used are None. A sentence that is too long for the model is not parsed:
    its first word stands in for it, and all its words count as wrong.
    """

    UNIT: ClassVar[str] = "words"
    PAD: ClassVar[int] = 0  # ids that mean the same in the vocabularies of words, tags and characters
    UNKNOWN: ClassVar[int] = 1
    ROOT: ClassVar[int] = 2

    lengths: Tensor  # (B,) int64, words of each sentence; 1 if it is not parsed
    is_parsed: Tensor  # (B,) bool
    words: Tensor  # (B, W + 1) int64; 0 at padding, as in tags and characters
    tags: Tensor | None  # (B, W + 1) int64
    characters: Tensor | None  # (B, W + 1, C) int64
    input_ids: Tensor | None  # (B, T) int64, subwords; the first one is special and means the root
    word_of_subword: Tensor | None  # (B, T) int64, 0 to W; W + 1 at subwords that belong to no word
    attention_mask: Tensor | None  # (B, T) int64, 1 at real subwords
    heads: Tensor  # (B, W) int64, 0 to W; IGNORED at padding
    relations: Tensor  # (B, W) int64; IGNORED at padding and where training lacks it; zeros if the data has none
    universal_relations: Tensor  # (B, W) int64, without subtypes, as `universal_ids` numbers them; IGNORED as above
    projective_heads: Tensor  # (B, W) int64, `heads`, lifted where a tree is not projective, for transitions
    scored: Tensor  # (B, W, G) bool, the words that count in each of the G additional scores
    writers: list[WritesTree]  # B functions that write predictions into the sentences as read; empty in training
    all_words: Tensor  # (B,) int64, words of each sentence, also of one that is not parsed
    real_words: int  # their sum, known without asking the device
    scored_words: tuple[int, ...]  # words of all sentences that count in each of the G additional scores
    forms: list[tuple[str, ...]] = field(default_factory=list)  # B; the words, for predictions; empty in training

    @property
    def tokens(self) -> int:
        """The number of words."""
        return 0 if self.is_dummy else self.real_words

    @property
    def is_word(self) -> Tensor:
        """(B, W) bool, whether there is a word; False at padding."""
        return self.heads != self.IGNORED


@dataclass
class ImageBatch(Batch):
    """Images with one class each."""

    UNIT: ClassVar[str] = "images"

    pixel_values: Tensor  # (B, C, H, W) float32, standardised
    labels: Tensor  # (B,) int64

    def model_inputs(self) -> dict[str, Tensor]:
        """The keyword arguments of a Hugging Face image encoder."""
        return {"pixel_values": self.pixel_values}


@dataclass(frozen=True)
class DataSpec:
    """What a model must know of its data: the only link from a datamodule to a task.

    Args:
        model_options: options of the backbone's config that follow from the data, such as vocab_size,
            pad_token_id, image_size and num_channels.
        labels: the classes in the order of their ids.
        class_counts: examples of each of `labels` in the training split, of classification; empty if unknown.
        max_length: maximum number of tokens of a sequence, special ones included; None if there is no limit.
        vocabulary: digest of the tokenizer and of all vocabularies, equal where ids mean the same.
        decode: function from lists of token ids to texts, for tasks that predict text.
        target_language: code of the language of predictions, such as de.
        has_streams: whether a batch continues where the one before ended, and a model carries its memory along.
        baselines: what simple methods reach on the test split, in the task's primary metric, by their names.
        features: sizes of the vocabularies of words, tags and characters, by these names; only those that exist.
        root_labels: for each of `labels`, whether it only marks roots; empty where this is not so.
        score_groups: names of the additional scores that skip some words, such as punct.
        batch: type of the batches, by which tasks that fit the data are found; None if unknown.
    """

    model_options: dict[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    class_counts: tuple[int, ...] = ()
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


def universal_ids(relations: Sequence[str]) -> dict[str, int]:
    """Number relations without their subtypes (nsubj of nsubj:pass): each by the first of `relations` that has it."""
    return {relation.partition(":")[0]: number for number, relation in reversed(list(enumerate(relations)))}
