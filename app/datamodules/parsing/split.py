"""Sentences with trees as arrays of ids, and the batches made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from app.batches import ParsingBatch
from app.datamodules.batching.batch_plan import PlanItem
from app.datamodules.parsing.conllu import Sentence
from app.datamodules.parsing.word_alignment import NO_WORD, Subwords


class EncodedSentence(NamedTuple):
    """One sentence of W words; what was not asked for is None. Word 0 is the root."""

    words: np.ndarray  # (W + 1,)
    tags: np.ndarray | None  # (W + 1,)
    characters: np.ndarray | None  # (W + 1, C), C as large as its longest word needs
    subwords: Subwords | None
    heads: np.ndarray  # (W,)
    relations: np.ndarray  # (W,) IGNORED where training knows no such relation
    projective_heads: np.ndarray  # (W,)
    scored: np.ndarray  # (W, G)


class ParsingSplit:
    """Encoded sentences of one split; a sentence costs its subwords or, without, its words and the root.

    Args:
        encoded: the sentences.
        pad_id: subword id that fills short sentences up.
        sentences: as they were read, where predictions are to be written into them.
    """

    def __init__(
        self, encoded: Sequence[EncodedSentence], pad_id: int, sentences: Sequence[Sentence] | None = None
    ) -> None:
        self.encoded, self.pad_id, self.sentences = list(encoded), pad_id, sentences
        self.units = np.array([len(s.heads) for s in self.encoded], dtype=np.int64)
        self.lengths = np.array(
            [len(s.words) if s.subwords is None else len(s.subwords.ids) for s in self.encoded], dtype=np.int64
        )

    def batch(self, item: PlanItem) -> ParsingBatch:
        """The sentences of a plan item, right-padded to the longest."""
        rows = [self.encoded[i] for i in item.indices]
        words = max(len(row.heads) for row in rows)
        subwords = [row.subwords for row in rows if row.subwords is not None]
        ids = of_word = mask = None
        if subwords:
            ids = _padded([s.ids for s in subwords], self.pad_id)
            of_word = _padded([s.words for s in subwords], NO_WORD)
            of_word[of_word == NO_WORD] = words + 1
            mask = _padded([np.ones_like(s.ids) for s in subwords], 0)
        ignored = ParsingBatch.IGNORED
        return ParsingBatch(
            index=torch.tensor(item.indices),
            loss_denominator=item.loss_denominator,
            is_dummy=item.is_dummy,
            lengths=torch.from_numpy(self.units[item.indices]),
            words=_padded([row.words for row in rows], ParsingBatch.PAD),
            tags=_padded_or_none([row.tags for row in rows]),
            characters=_padded_or_none([row.characters for row in rows]),
            input_ids=ids,
            word_of_subword=of_word,
            attention_mask=mask,
            heads=_padded([row.heads for row in rows], ignored),
            relations=_padded([row.relations for row in rows], ignored),
            projective_heads=_padded([row.projective_heads for row in rows], ignored),
            scored=_padded([row.scored for row in rows], 0).bool(),
            writers=[] if self.sentences is None else [self.sentences[i].with_tree for i in item.indices],
            real_words=int(self.units[item.indices].sum()),
            forms=[] if self.sentences is None else [self.sentences[i].forms for i in item.indices],
        )

    def subset(self, indices: np.ndarray) -> ParsingSplit:
        """The sentences at `indices`."""
        sentences = None if self.sentences is None else [self.sentences[i] for i in indices]
        return ParsingSplit([self.encoded[i] for i in indices], self.pad_id, sentences)

    def fingerprint(self) -> str:
        """Digest of all ids."""
        digest = hashlib.sha256(self.units.tobytes() + self.lengths.tobytes())
        for sentence in self.encoded:
            for array in (*(sentence.subwords or ()), *(a for a in sentence if isinstance(a, np.ndarray))):
                digest.update(array.astype(np.int64).tobytes())
        return digest.hexdigest()


def _padded_or_none(arrays: Sequence[np.ndarray | None]) -> Tensor | None:
    given = [array for array in arrays if array is not None]
    return _padded(given, ParsingBatch.PAD) if given else None


def _padded(arrays: Sequence[np.ndarray], fill: int) -> Tensor:
    """(B, longest, ...) int64: all dimensions are filled up to their largest."""
    shape = np.max([array.shape for array in arrays], axis=0)
    padded = np.full((len(arrays), *shape), fill, dtype=np.int64)
    for row, array in enumerate(arrays):
        padded[(row, *(slice(size) for size in array.shape))] = array
    return torch.from_numpy(padded)
