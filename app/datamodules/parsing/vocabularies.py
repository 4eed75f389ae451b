"""What the training part of a treebank dictates: which words, tags, letters and relations there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.datamodules.parsing.conllu import Sentence
from app.datamodules.parsing.word_vocabulary import WordVocabulary
from app.errors import InputError

Tags = Literal["upos", "xpos"]


@dataclass(frozen=True)
class Reading:
    """How a sentence is read.

    Args:
        tags: the column that tags are read from; None for none.
        lowercase: fold upper case of words; letters and subwords keep it.
        subtypes: keep what follows the colon of a relation (nsubj:pass).
    """

    tags: Tags | None
    lowercase: bool
    subtypes: bool

    def words(self, sentence: Sentence) -> list[str]:
        """The words that have ids."""
        return [word.lower() for word in sentence.forms] if self.lowercase else list(sentence.forms)

    def tags_of(self, sentence: Sentence) -> tuple[str, ...]:
        """The tags."""
        return sentence.upos if self.tags == "upos" else sentence.xpos

    def relation(self, relation: str) -> str:
        """A relation, as it is learned."""
        return relation if self.subtypes else relation.partition(":")[0]


@dataclass(frozen=True)
class TreebankVocabularies:
    """Vocabularies and relations of a training part.

    Args:
        words: see `WordVocabulary`, as are tags and letters.
        tags: None where none are read.
        letters: likewise.
        relations: in the order of their ids; empty where none are learned.
        root_relations: for each, whether it marks roots; empty where one marks roots and others.
        has_upos: some word has the universal tag PUNCT, so that the punctuation is known by it.
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
        """Those of sentences with trees.

        Args:
            train: sentences of the training part.
            reading: how they are read.
            characters: whether letters are encoded.
            min_frequency: rarer words are unknown words.
            has_relations: whether relations are learned.

        Raises:
            InputError: for tags that the sentences lack.
        """
        if reading.tags and all(tag == "_" for sentence in train for tag in reading.tags_of(sentence)):
            raise InputError(
                f"data.tags is {reading.tags}, and the training part has none of them; allowed: null, or the other"
            )
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
        """The same in plain types."""
        vocabularies = {"words": self.words, "tags": self.tags, "letters": self.letters}
        return {
            **{name: None if entries is None else entries.entries for name, entries in vocabularies.items()},
            "relations": list(self.relations),
            "root_relations": list(self.root_relations),
            "has_upos": self.has_upos,
        }

    @classmethod
    def from_dict(cls, kept: dict[str, Any]) -> TreebankVocabularies:
        """What `to_dict` was called on."""
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
    """All relations in order, and for each whether it marks roots; nothing where one marks roots and others."""
    of_roots: set[str] = set()
    of_others: set[str] = set()
    for sentence in train:
        for head, relation in zip(sentence.heads or (), sentence.relations or (), strict=True):
            (of_others if head else of_roots).add(reading.relation(relation))
    names = tuple(sorted(of_roots | of_others))
    return names, () if of_roots & of_others else tuple(name in of_roots for name in names)
