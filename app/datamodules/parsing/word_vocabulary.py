"""Ids of words, tags and letters: small vocabularies counted over the training part."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from app.batches import ParsingBatch

_SPECIAL = 3  # ids that are the same in every vocabulary: ParsingBatch.PAD, UNKNOWN, ROOT


class WordVocabulary:
    """Entries with ids from 3 on.

    Args:
        entries: all different.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._ids = {entry: number for number, entry in enumerate(entries, start=_SPECIAL)}

    @classmethod
    def count(cls, occurrences: Iterable[str], min_frequency: int = 1) -> WordVocabulary:
        """The vocabulary of a training part, the most frequent entry first, ties in the order of their names.

        Args:
            occurrences: all of them.
            min_frequency: rarer entries get no id of their own; UNKNOWN learns from their occurrences.
        """
        counts = Counter(occurrences)
        return cls(sorted((e for e in counts if counts[e] >= min_frequency), key=lambda e: (-counts[e], e)))

    @property
    def entries(self) -> list[str]:
        """All that have ids, in the order of these."""
        return list(self._ids)

    def __len__(self) -> int:
        """Rows that an embedding needs."""
        return len(self._ids) + _SPECIAL

    @property
    def digest(self) -> str:
        """Equal where all entries have the same ids."""
        return hashlib.sha256("\0".join(self._ids).encode()).hexdigest()[:16]

    def encode(self, entries: Sequence[str]) -> np.ndarray:
        """(N,) int32 ids; UNKNOWN for entries without one."""
        return np.array([self._ids.get(entry, ParsingBatch.UNKNOWN) for entry in entries], dtype=np.int32)
