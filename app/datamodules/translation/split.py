"""Tokenised pairs of sentences, and the batches made of them."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import torch

from app.batches import TranslationBatch
from app.datamodules.batching.batch_plan import PlanItem


class Side(NamedTuple):
    """One language of a split: N texts and the token ids of each."""

    texts: list[str]
    ids: list[np.ndarray]  # N arrays of int32, each with the end mark

    @property
    def lengths(self) -> np.ndarray:
        """(N,) int64, tokens of each text."""
        return np.array([len(row) for row in self.ids], dtype=np.int64)

    def subset(self, indices: np.ndarray) -> Side:
        """The texts at `indices`."""
        return Side([self.texts[i] for i in indices], [self.ids[i] for i in indices])


class TranslationSplit:
    """Tokenised pairs of one split; the cost of a pair is its longer side, its loss units are its target tokens.

    Args:
        source: what is translated.
        target: its translation.
        pad_id: id that fills short sources up.
    """

    def __init__(self, source: Side, target: Side, pad_id: int) -> None:
        self.source, self.target, self.pad_id = source, target, pad_id
        self._source_lengths, self.units = source.lengths, target.lengths
        self.lengths = np.maximum(self._source_lengths, self.units)

    def batch(self, item: PlanItem) -> TranslationBatch:
        """The pairs of a plan item, each side right-padded to its longest."""
        input_ids, mask = self._padded(self.source.ids, item.indices, self.pad_id)
        labels, _ = self._padded(self.target.ids, item.indices, TranslationBatch.IGNORED)
        target_tokens = int(self.units[item.indices].sum())
        return TranslationBatch(
            index=torch.tensor(item.indices),
            loss_denominator=item.loss_denominator,
            is_dummy=item.is_dummy,
            input_ids=input_ids,
            attention_mask=mask,
            labels=labels,
            sources=[self.source.texts[i] for i in item.indices],
            references=[self.target.texts[i] for i in item.indices],
            real_tokens=int(self._source_lengths[item.indices].sum()) + target_tokens,
            target_tokens=target_tokens,
        )

    def subset(self, indices: np.ndarray) -> TranslationSplit:
        """The pairs at `indices`."""
        return TranslationSplit(self.source.subset(indices), self.target.subset(indices), self.pad_id)

    def fingerprint(self) -> str:
        """Digest of the ids of both sides."""
        digest = hashlib.sha256(self._source_lengths.tobytes() + self.units.tobytes())
        for side in (self.source, self.target):
            digest.update(np.concatenate(side.ids).astype(np.int64).tobytes())
        return digest.hexdigest()

    @staticmethod
    def _padded(ids: list[np.ndarray], indices: list[int], fill: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, longest) int64 ids and the mask of what is real."""
        rows = [ids[i] for i in indices]
        lengths = np.array([len(row) for row in rows])
        padded = np.full((len(rows), lengths.max()), fill, dtype=np.int64)
        for place, row in enumerate(rows):
            padded[place, : len(row)] = row
        mask = np.arange(lengths.max()) < lengths[:, None]
        return torch.from_numpy(padded), torch.from_numpy(mask.astype(np.int64))
