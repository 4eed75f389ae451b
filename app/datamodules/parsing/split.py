"""Encoded sentences with trees, and their batches."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from app.batches import ParsingBatch
from app.datamodules.batching.batch_plan import PlanItem
from app.datamodules.batching.padding import padding_mask, right_pad
from app.datamodules.parsing.conllu import Sentence
from app.datamodules.parsing.word_alignment import NO_WORD, Subwords

log = logging.getLogger(__name__)


class EncodedSentence(NamedTuple):
    """One sentence of W words as ids; features that are not used are None. Word 0 is the root."""

    words: np.ndarray  # (W + 1,)
    tags: np.ndarray | None  # (W + 1,)
    characters: np.ndarray | None  # (W + 1, C), with C the length of its longest word
    subwords: Subwords | None
    heads: np.ndarray  # (W,)
    relations: np.ndarray  # (W,) IGNORED for a relation that the training split lacks
    projective_heads: np.ndarray  # (W,)
    scored: np.ndarray  # (W, G)
    universal_relations: np.ndarray  # (W,) without subtypes; IGNORED as above

    @property
    def length(self) -> int:
        """The number of subwords, special ones included, or without subwords of words and the root."""
        return len(self.words) if self.subwords is None else len(self.subwords.ids)


class ParsingSplit:
    """The encoded sentences of one split; a sentence costs its subwords or, without them, its words and the root.

    Args:
        encoded: the sentences.
        pad_id: subword id that pads short sentences.
        sentences: the sentences as they were read, where predictions are written into them.
        max_length: sentences that cost more are not parsed, and cost what their first word does; None for no limit.
    """

    def __init__(
        self,
        encoded: Sequence[EncodedSentence],
        pad_id: int,
        sentences: Sequence[Sentence] | None = None,
        max_length: int | None = None,
    ) -> None:
        self.encoded, self.pad_id, self.sentences, self.max_length = list(encoded), pad_id, sentences, max_length
        self.units = np.array([len(s.heads) for s in self.encoded], dtype=np.int64)
        self.is_parsed = np.array([max_length is None or s.length <= max_length for s in self.encoded], dtype=bool)
        self._read = [s if ok else _first_word(s) for s, ok in zip(self.encoded, self.is_parsed, strict=True)]
        self.lengths = np.array([s.length for s in self._read], dtype=np.int64)

    def batch(self, item: PlanItem) -> ParsingBatch:
        """The sentences of a plan item, right-padded to the longest."""
        rows = [self._read[i] for i in item.indices]
        words = max(len(row.heads) for row in rows)
        subwords = [row.subwords for row in rows if row.subwords is not None]
        ids = of_word = mask = None
        if subwords:
            ids = right_pad([s.ids for s in subwords], self.pad_id)
            of_word = right_pad([s.words for s in subwords], NO_WORD)
            of_word[of_word == NO_WORD] = words + 1
            mask = padding_mask([s.ids for s in subwords])
        ignored = ParsingBatch.IGNORED
        return ParsingBatch(
            index=torch.tensor(item.indices),
            loss_denominator=item.loss_denominator,
            is_dummy=item.is_dummy,
            lengths=torch.tensor([len(row.heads) for row in rows]),
            is_parsed=torch.from_numpy(self.is_parsed[item.indices]),
            words=right_pad([row.words for row in rows], ParsingBatch.PAD),
            tags=_padded_or_none([row.tags for row in rows]),
            characters=_padded_or_none([row.characters for row in rows]),
            input_ids=ids,
            word_of_subword=of_word,
            attention_mask=mask,
            heads=right_pad([row.heads for row in rows], ignored),
            relations=right_pad([row.relations for row in rows], ignored),
            universal_relations=right_pad([row.universal_relations for row in rows], ignored),
            projective_heads=right_pad([row.projective_heads for row in rows], ignored),
            scored=right_pad([row.scored for row in rows], 0).bool(),
            writers=[] if self.sentences is None else [self.sentences[i].with_tree for i in item.indices],
            all_words=torch.from_numpy(self.units[item.indices]),
            real_words=int(self.units[item.indices].sum()),
            scored_words=tuple(sum(self.encoded[i].scored.sum(0) for i in item.indices).tolist()),
            forms=[] if self.sentences is None else [self.sentences[i].forms for i in item.indices],
        )

    def warn_of_unparsed(self, what: str, sentences: Sequence[Sentence], so: str) -> None:
        """Log how many sentences are not parsed, and which is the first of them.

        Args:
            what: the name of the split.
            sentences: its sentences.
            so: what follows from it.
        """
        unparsed = np.flatnonzero(~self.is_parsed)
        if len(unparsed):
            log.warning(
                "%s: %d of %d sentences (%d words) have over %s tokens (data.max_length): they are not parsed, and %s; "
                "the first is %s",
                what,
                len(unparsed),
                len(sentences),
                self.units[unparsed].sum(),
                self.max_length,
                so,
                sentences[unparsed[0]].place,
            )

    def subset(self, indices: np.ndarray) -> ParsingSplit:
        """The sentences at `indices`."""
        sentences = None if self.sentences is None else [self.sentences[i] for i in indices]
        return ParsingSplit([self.encoded[i] for i in indices], self.pad_id, sentences, self.max_length)

    def fingerprint(self) -> str:
        """A digest of all ids."""
        digest = hashlib.sha256(self.units.tobytes() + self.lengths.tobytes())
        for sentence in self.encoded:
            of_words = sentence[:-1]  # universal_relations follow from the others
            for array in (*(sentence.subwords or ()), *(a for a in of_words if isinstance(a, np.ndarray))):
                digest.update(array.astype(np.int64).tobytes())
        return digest.hexdigest()


def _first_word(sentence: EncodedSentence) -> EncodedSentence:
    """A sentence of the first word of another, and of that its first subword, whose relation is unknown."""
    subwords = sentence.subwords
    if subwords is not None:
        kept = (subwords.words == 0) | (subwords.words == NO_WORD)
        kept[np.flatnonzero(subwords.words == 1)[0]] = True
        subwords = Subwords(subwords.ids[kept], subwords.words[kept])
    root, unknown = np.zeros(1, dtype=np.int32), np.full(1, ParsingBatch.IGNORED, dtype=np.int32)
    return EncodedSentence(
        words=sentence.words[:2],
        tags=None if sentence.tags is None else sentence.tags[:2],
        characters=None if sentence.characters is None else sentence.characters[:2],
        subwords=subwords,
        heads=root,
        relations=unknown,
        projective_heads=root,
        scored=sentence.scored[:1],
        universal_relations=unknown,
    )


def _padded_or_none(arrays: Sequence[np.ndarray | None]) -> Tensor | None:
    given = [array for array in arrays if array is not None]
    return right_pad(given, ParsingBatch.PAD) if given else None
