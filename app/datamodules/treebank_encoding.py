"""Sentences of a treebank to ids: which words, tags, letters and relations there are, and which words are scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from app.batches import ParsingBatch
from app.datamodules.conllu import Sentence
from app.datamodules.parsing_split import EncodedSentence
from app.datamodules.projectivity import projectivize
from app.datamodules.tokenizers import TextTokenizer
from app.datamodules.word_alignment import encode_words
from app.datamodules.word_vocabulary import WordVocabulary
from app.errors import InputError

PUNCTUATION = "punct"
_PTB_PUNCTUATION = frozenset(("``", "''", ":", ",", "."))  # the five tags that Penn Treebank scores leave out
_MOST_LETTERS = 20  # of a word; the first ten and the last ten of a longer one
Tags = Literal["upos", "xpos"]


class TreebankEncoder:
    """What the training part dictates, and sentences in its terms.

    Args:
        train: sentences of the training part, with trees.
        tags: the column that tags are read from; None for none.
        characters: whether letters are encoded.
        min_frequency: rarer words of the training part are unknown words.
        lowercase: fold upper case of words; letters and subwords keep it.
        has_relations: whether relations are learned and scored.
        subtypes: keep what follows the colon of a relation (nsubj:pass).
        score_without: names of further scores: `punct` leaves punctuation out, any other name the words with that
            relation.
        tokenizer: gives subwords; None for none.

    Raises:
        InputError: for tags that the training part lacks, or a relation in score_without that it does not have.
    """

    def __init__(
        self,
        train: Sequence[Sentence],
        *,
        tags: Tags | None,
        characters: bool,
        min_frequency: int,
        lowercase: bool,
        has_relations: bool,
        subtypes: bool,
        score_without: Sequence[str],
        tokenizer: TextTokenizer | None,
    ) -> None:
        self.tags, self.lowercase, self.subtypes, self.tokenizer = tags, lowercase, subtypes, tokenizer
        self.score_without = tuple(score_without)
        self.has_upos = any(tag == "PUNCT" for sentence in train for tag in sentence.upos)
        self.words = WordVocabulary((word for s in train for word in self._folded(s)), min_frequency)
        self.tag_ids = WordVocabulary(tag for s in train for tag in self._tags_of(s)) if tags else None
        self.letters = (
            WordVocabulary((letter for s in train for w in s.forms for letter in w), 2) if characters else None
        )
        if tags and all(tag == "_" for sentence in train for tag in self._tags_of(sentence)):
            raise InputError(
                f"data.tags is {tags}, and the training part has none of them; allowed: null, or the other"
            )
        self.relations, self.root_relations = self._relations_of(train) if has_relations else ((), ())
        self._relation_ids = {relation: number for number, relation in enumerate(self.relations)}
        for name in self.score_without:
            if name != PUNCTUATION and name not in self.relations:
                raise InputError(
                    f"data.score_without names {name!r}; allowed: punct and the relations of the training part: "
                    f"{', '.join(self.relations) or 'none'}"
                )

    @classmethod
    def from_state(cls, state: dict[str, Any], tokenizer: TextTokenizer | None) -> TreebankEncoder:
        """The encoder whose `state` this is, for sentences that are to be parsed.

        Raises:
            InputError: for a state that lacks something.
        """
        encoder = cls.__new__(cls)
        try:
            encoder.tags, encoder.lowercase, encoder.subtypes = state["tags"], state["lowercase"], state["subtypes"]
            encoder.words, encoder.tag_ids, encoder.letters = (
                None if state[name] is None else WordVocabulary.of_kept(state[name])
                for name in ("words", "tag_ids", "letters")
            )
            encoder.relations = tuple(state["relations"])
            encoder.root_relations = tuple(state["root_relations"])
        except (KeyError, TypeError) as error:
            raise InputError(f"the vocabulary of a parser lacks {error}; export the run again") from error
        encoder.tokenizer, encoder.score_without, encoder.has_upos = tokenizer, (), False
        encoder._relation_ids = {relation: number for number, relation in enumerate(encoder.relations)}
        return encoder

    @property
    def state(self) -> dict[str, Any]:
        """What encodes a sentence, beside the tokenizer, in plain types."""
        vocabularies = {"words": self.words, "tag_ids": self.tag_ids, "letters": self.letters}
        return {
            "tags": self.tags,
            "lowercase": self.lowercase,
            "subtypes": self.subtypes,
            **{name: None if entries is None else entries.kept for name, entries in vocabularies.items()},
            "relations": list(self.relations),
            "root_relations": list(self.root_relations),
        }

    @property
    def features(self) -> dict[str, int]:
        """Entries of each vocabulary, for embeddings."""
        sizes = {"words": self.words, "tags": self.tag_ids, "characters": self.letters}
        return {name: len(vocabulary) for name, vocabulary in sizes.items() if vocabulary is not None}

    @property
    def digest(self) -> str:
        """Equal where subwords, words, tags and letters have the same ids."""
        parts = [self.tokenizer, self.words, self.tag_ids, self.letters]
        return "-".join(part.digest for part in parts if part is not None)

    def encode(self, sentences: Sequence[Sentence]) -> list[EncodedSentence]:
        """The sentences as ids; those without a tree have each word under the root, which nothing is to read."""
        subwords = encode_words(self.tokenizer, [s.forms for s in sentences]) if self.tokenizer is not None else None
        encoded = []
        for number, sentence in enumerate(sentences):
            heads = sentence.heads or (0,) * len(sentence.forms)
            encoded.append(
                EncodedSentence(
                    words=_behind_root(self.words.encode(self._folded(sentence))),
                    tags=_behind_root(self.tag_ids.encode(self._tags_of(sentence))) if self.tag_ids else None,
                    characters=self._letters_of(sentence) if self.letters else None,
                    subwords=subwords[number] if subwords is not None else None,
                    heads=np.array(heads, dtype=np.int32),
                    relations=self._encode_relations(sentence),
                    projective_heads=np.array(projectivize(heads) if sentence.heads else heads, dtype=np.int32),
                    scored=self._scored(sentence),
                )
            )
        return encoded

    def _folded(self, sentence: Sentence) -> list[str]:
        return [word.lower() for word in sentence.forms] if self.lowercase else list(sentence.forms)

    def _tags_of(self, sentence: Sentence) -> tuple[str, ...]:
        return sentence.upos if self.tags == "upos" else sentence.xpos

    def _letters_of(self, sentence: Sentence) -> np.ndarray:
        """(W + 1, C): the letters of each word, the longest word's number of columns."""
        assert self.letters is not None
        half = _MOST_LETTERS // 2
        words = [word if len(word) <= _MOST_LETTERS else word[:half] + word[-half:] for word in sentence.forms]
        ids = np.full((len(words) + 1, max(map(len, words))), ParsingBatch.PAD, dtype=np.int32)
        ids[0, 0] = ParsingBatch.ROOT
        for row, word in enumerate(words, start=1):
            ids[row, : len(word)] = self.letters.encode(word)
        return ids

    def _relation(self, relation: str) -> str:
        return relation if self.subtypes else relation.partition(":")[0]

    def _relations_of(self, train: Sequence[Sentence]) -> tuple[tuple[str, ...], tuple[bool, ...]]:
        """All relations in order, and for each whether it marks roots; nothing where one marks roots and others."""
        of_roots: set[str] = set()
        of_others: set[str] = set()
        for sentence in train:
            for head, relation in zip(sentence.heads or (), sentence.relations or (), strict=True):
                (of_others if head else of_roots).add(self._relation(relation))
        names = tuple(sorted(of_roots | of_others))
        return names, () if of_roots & of_others else tuple(name in of_roots for name in names)

    def _encode_relations(self, sentence: Sentence) -> np.ndarray:
        """(W,) ids; zeros where relations are not learned, IGNORED for one that the training part does not have."""
        if not self.relations or sentence.relations is None:
            return np.zeros(len(sentence.forms), dtype=np.int32)
        ids = [self._relation_ids.get(self._relation(r), ParsingBatch.IGNORED) for r in sentence.relations]
        return np.array(ids, dtype=np.int32)

    def _scored(self, sentence: Sentence) -> np.ndarray:
        """(W, G) bool."""
        scored = np.ones((len(sentence.forms), len(self.score_without)), dtype=bool)
        for column, name in enumerate(self.score_without):
            if name != PUNCTUATION:
                relations = sentence.relations or ("",) * len(sentence.forms)
                scored[:, column] = [self._relation(relation) != name for relation in relations]
            elif self.has_upos:
                scored[:, column] = [tag != "PUNCT" for tag in sentence.upos]
            else:
                scored[:, column] = [tag not in _PTB_PUNCTUATION for tag in sentence.xpos]
        return scored


def _behind_root(ids: np.ndarray) -> np.ndarray:
    return np.concatenate([np.array([ParsingBatch.ROOT], dtype=ids.dtype), ids])
