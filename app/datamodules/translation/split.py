"""Tokenised pairs of sentences, and the batches made of them."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import torch

from app.batches import TranslationBatch
from app.datamodules.batching.batch_plan import PlanItem
from app.datamodules.batching.padding import padding_mask, right_pad


class Side(NamedTuple):
    """One language of a split: N texts and their token ids."""

    texts: list[str]
    ids: list[np.ndarray]  # N arrays of int32, each with the end mark

    @property
    def lengths(self) -> np.ndarray:
        """(N,) int64, the number of tokens of each text."""
        return np.array([len(row) for row in self.ids], dtype=np.int64)

    def subset(self, indices: np.ndarray) -> Side:
        """The texts at `indices`."""
        return Side([self.texts[i] for i in indices], [self.ids[i] for i in indices])


class TranslationSplit:
    """The tokenised pairs of one split; a pair costs its longer side, and its loss units are its target tokens.

    Args:
        source: the texts to translate.
        target: their translations.
        pad_id: id that pads short sources.
    """

    def __init__(self, source: Side, target: Side, pad_id: int) -> None:
        self.source, self.target, self.pad_id = source, target, pad_id
        self._source_lengths, self.units = source.lengths, target.lengths
        self.lengths = np.maximum(self._source_lengths, self.units)

    def batch(self, item: PlanItem) -> TranslationBatch:
        """The pairs of a plan item, each side right-padded to its longest."""
        sources = [self.source.ids[i] for i in item.indices]
        target_tokens = int(self.units[item.indices].sum())
        return TranslationBatch(
            index=torch.tensor(item.indices),
            loss_denominator=item.loss_denominator,
            is_dummy=item.is_dummy,
            input_ids=right_pad(sources, self.pad_id),
            attention_mask=padding_mask(sources),
            labels=right_pad([self.target.ids[i] for i in item.indices], TranslationBatch.IGNORED),
            sources=[self.source.texts[i] for i in item.indices],
            references=[self.target.texts[i] for i in item.indices],
            real_tokens=int(self._source_lengths[item.indices].sum()) + target_tokens,
            target_tokens=target_tokens,
        )

    def subset(self, indices: np.ndarray) -> TranslationSplit:
        """The pairs at `indices`."""
        return TranslationSplit(self.source.subset(indices), self.target.subset(indices), self.pad_id)

    def fingerprint(self) -> str:
        """A digest of the ids of both sides."""
        digest = hashlib.sha256(self._source_lengths.tobytes() + self.units.tobytes())
        for side in (self.source, self.target):
            digest.update(np.concatenate(side.ids).astype(np.int64).tobytes())
        return digest.hexdigest()
