"""The vocabularies of a treebank: the words, tags, letters and relations of its training split."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from app.batches import ParsingBatch
from app.datamodules.parsing.conllu import NONE, Sentence
from app.errors import InputError

Tags = Literal["upos", "xpos"]
_SPECIAL = 3  # number of ids that are the same in every vocabulary: ParsingBatch.PAD, UNKNOWN, ROOT


class WordVocabulary:
    """The ids of words, tags or letters, from 3 on.

    Args:
        entries: the words, tags or letters in the order of their ids, all different.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._ids = {entry: number for number, entry in enumerate(entries, start=_SPECIAL)}

    @classmethod
    def count(cls, occurrences: Iterable[str], min_frequency: int = 1) -> WordVocabulary:
        """The vocabulary of a training split, the most frequent entry first, ties in alphabetical order.

        Args:
            occurrences: all occurrences of all entries.
            min_frequency: rarer entries have no id of their own; UNKNOWN is learned from them.
        """
        counts = Counter(occurrences)
        return cls(sorted((e for e in counts if counts[e] >= min_frequency), key=lambda e: (-counts[e], e)))

    @property
    def entries(self) -> list[str]:
        """The entries in the order of their ids."""
        return list(self._ids)

    def __len__(self) -> int:
        """The number of rows that an embedding needs."""
        return len(self._ids) + _SPECIAL

    @property
    def digest(self) -> str:
        """A digest that is equal where all entries have the same ids."""
        return hashlib.sha256("\0".join(self._ids).encode()).hexdigest()[:16]

    def encode(self, entries: Sequence[str]) -> np.ndarray:
        """(N,) int32 ids, UNKNOWN for entries without one."""
        return np.array([self._ids.get(entry, ParsingBatch.UNKNOWN) for entry in entries], dtype=np.int32)


@dataclass(frozen=True)
class Reading:
    """Which words, tags and relations a parser sees of a sentence; see `ParsingData` for the arguments."""

    tags: Tags | None
    lowercase: bool
    subtypes: bool

    def words(self, sentence: Sentence) -> list[str]:
        """The words, as they have ids."""
        return [word.lower() for word in sentence.forms] if self.lowercase else list(sentence.forms)

    def tags_of(self, sentence: Sentence) -> tuple[str, ...]:
        """The tags of the words."""
        return sentence.upos if self.tags == "upos" else sentence.xpos

    def relation(self, relation: str) -> str:
        """The relation, as it is learned."""
        return relation if self.subtypes else relation.partition(":")[0]


@dataclass(frozen=True)
class TreebankVocabularies:
    """The vocabularies and relations of a training split.

    Args:
        words: vocabulary of the words.
        tags: vocabulary of the tags; None if they are not read.
        letters: vocabulary of the letters; None if they are not read.
        relations: the relations in the order of their ids; empty if they are not learned.
        root_relations: for each relation, whether it marks roots; empty if one marks roots and other words.
        has_upos: whether some word has the universal tag PUNCT, by which punctuation is then found.
    """

    words: WordVocabulary
    tags: WordVocabulary | None
    letters: WordVocabulary | None
    relations: tuple[str, ...]
    root_relations: tuple[bool, ...]
    has_upos: bool

    @classmethod
    def count(
        cls, train: Sequence[Sentence], reading: Reading, *, characters: bool, min_frequency: int, has_relations: bool
    ) -> TreebankVocabularies:
        """Count the vocabularies of sentences with trees.

        Args:
            train: the sentences of the training split.
            reading: how they are read.
            characters: whether letters are read.
            min_frequency: rarer words are unknown words.
            has_relations: whether relations are learned.

        Raises:
            InputError: if the sentences have no such tags.
        """
        if reading.tags and all(tag == NONE for sentence in train for tag in reading.tags_of(sentence)):
            other = "xpos" if reading.tags == "upos" else "upos"
            raise InputError(f"data.tags is {reading.tags}, but the training split has none; set it to null or {other}")
        letters = (letter for s in train for word in s.forms for letter in word)
        relations, root_relations = _relations_of(train, reading) if has_relations else ((), ())
        return cls(
            words=WordVocabulary.count((word for s in train for word in reading.words(s)), min_frequency),
            tags=WordVocabulary.count(tag for s in train for tag in reading.tags_of(s)) if reading.tags else None,
            letters=WordVocabulary.count(letters, 2) if characters else None,
            relations=relations,
            root_relations=root_relations,
            has_upos=any(tag == "PUNCT" for sentence in train for tag in sentence.upos),
        )

    def to_dict(self) -> dict[str, Any]:
        """The vocabularies in plain types."""
        vocabularies = {"words": self.words, "tags": self.tags, "letters": self.letters}
        return {
            **{name: None if entries is None else entries.entries for name, entries in vocabularies.items()},
            "relations": list(self.relations),
            "root_relations": list(self.root_relations),
            "has_upos": self.has_upos,
        }

    @classmethod
    def from_dict(cls, kept: dict[str, Any]) -> TreebankVocabularies:
        """The vocabularies that `to_dict` was called on."""
        tags, letters = kept["tags"], kept["letters"]
        return cls(
            WordVocabulary(kept["words"]),
            None if tags is None else WordVocabulary(tags),
            None if letters is None else WordVocabulary(letters),
            tuple(kept["relations"]),
            tuple(kept["root_relations"]),
            kept["has_upos"],
        )


def _relations_of(train: Sequence[Sentence], reading: Reading) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """All relations in order, and for each whether it marks roots; () if one marks roots and other words."""
    of_roots: set[str] = set()
    of_others: set[str] = set()
    for sentence in train:
        for head, relation in zip(sentence.heads or (), sentence.relations or (), strict=True):
            (of_others if head else of_roots).add(reading.relation(relation))
    names = tuple(sorted(of_roots | of_others))
    return names, () if of_roots & of_others else tuple(name in of_roots for name in names)
