"""Sentences of a treebank to ids, and which words are scored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.batches import ParsingBatch
from app.datamodules.parsing.conllu import Sentence
from app.datamodules.parsing.projectivity import projectivize
from app.datamodules.parsing.split import EncodedSentence
from app.datamodules.parsing.vocabularies import Reading, TreebankVocabularies
from app.datamodules.parsing.word_alignment import encode_words
from app.datamodules.tokenizers.tokenizer import TextTokenizer
from app.errors import InputError

PUNCTUATION = "punct"
_PTB_PUNCTUATION = frozenset(("``", "''", ":", ",", "."))  # the five tags that Penn Treebank scores leave out
_MOST_LETTERS = 20  # of a word; the first ten and the last ten of a longer one


class TreebankEncoder:
    """Sentences in the terms of a training part.

    Args:
        vocabularies: what the training part dictates.
        reading: how sentences are read, as they were for the vocabularies.
        score_without: names of further scores: `punct` leaves punctuation out, any other name the words with that
            relation.
        tokenizer: gives subwords; None for none.

    Raises:
        InputError: for a relation in score_without that the training part does not have.
    """

    def __init__(
        self,
        vocabularies: TreebankVocabularies,
        reading: Reading,
        score_without: Sequence[str],
        tokenizer: TextTokenizer | None,
    ) -> None:
        self.vocabularies, self.reading, self.tokenizer = vocabularies, reading, tokenizer
        self.score_without = tuple(score_without)
        self._relation_ids = {relation: number for number, relation in enumerate(vocabularies.relations)}
        for name in self.score_without:
            if name != PUNCTUATION and name not in vocabularies.relations:
                raise InputError(
                    f"data.score_without names {name!r}; allowed: punct and the relations of the training part: "
                    f"{', '.join(vocabularies.relations) or 'none'}"
                )

    @property
    def features(self) -> dict[str, int]:
        """Entries of each vocabulary, for embeddings."""
        known = self.vocabularies
        sizes = {"words": known.words, "tags": known.tags, "characters": known.letters}
        return {name: len(vocabulary) for name, vocabulary in sizes.items() if vocabulary is not None}

    @property
    def digest(self) -> str:
        """Equal where subwords, words, tags and letters have the same ids."""
        known = self.vocabularies
        parts = [self.tokenizer, known.words, known.tags, known.letters]
        return "-".join(part.digest for part in parts if part is not None)

    def encode(self, sentences: Sequence[Sentence]) -> list[EncodedSentence]:
        """The sentences as ids; those without a tree have each word under the root, which nothing is to read."""
        known, reading = self.vocabularies, self.reading
        subwords = encode_words(self.tokenizer, [s.forms for s in sentences]) if self.tokenizer is not None else None
        encoded = []
        for number, sentence in enumerate(sentences):
            heads = sentence.heads or (0,) * len(sentence.forms)
            encoded.append(
                EncodedSentence(
                    words=_behind_root(known.words.encode(reading.words(sentence))),
                    tags=_behind_root(known.tags.encode(reading.tags_of(sentence))) if known.tags else None,
                    characters=self._letters_of(sentence) if known.letters else None,
                    subwords=subwords[number] if subwords is not None else None,
                    heads=np.array(heads, dtype=np.int32),
                    relations=self._encode_relations(sentence),
                    projective_heads=np.array(projectivize(heads) if sentence.heads else heads, dtype=np.int32),
                    scored=self._scored(sentence),
                )
            )
        return encoded

    def _letters_of(self, sentence: Sentence) -> np.ndarray:
        """(W + 1, C): the letters of each word, the longest word's number of columns."""
        assert self.vocabularies.letters is not None
        half = _MOST_LETTERS // 2
        words = [word if len(word) <= _MOST_LETTERS else word[:half] + word[-half:] for word in sentence.forms]
        ids = np.full((len(words) + 1, max(map(len, words))), ParsingBatch.PAD, dtype=np.int32)
        ids[0, 0] = ParsingBatch.ROOT
        for row, word in enumerate(words, start=1):
            ids[row, : len(word)] = self.vocabularies.letters.encode(word)
        return ids

    def _encode_relations(self, sentence: Sentence) -> np.ndarray:
        """(W,) ids; zeros where relations are not learned, IGNORED for one that the training part does not have."""
        if not self.vocabularies.relations or sentence.relations is None:
            return np.zeros(len(sentence.forms), dtype=np.int32)
        ids = [self._relation_ids.get(self.reading.relation(r), ParsingBatch.IGNORED) for r in sentence.relations]
        return np.array(ids, dtype=np.int32)

    def _scored(self, sentence: Sentence) -> np.ndarray:
        """(W, G) bool."""
        scored = np.ones((len(sentence.forms), len(self.score_without)), dtype=bool)
        for column, name in enumerate(self.score_without):
            if name != PUNCTUATION:
                relations = sentence.relations or ("",) * len(sentence.forms)
                scored[:, column] = [self.reading.relation(relation) != name for relation in relations]
            elif self.vocabularies.has_upos:
                scored[:, column] = [tag != "PUNCT" for tag in sentence.upos]
            else:
                scored[:, column] = [tag not in _PTB_PUNCTUATION for tag in sentence.xpos]
        return scored


def _behind_root(ids: np.ndarray) -> np.ndarray:
    return np.concatenate([np.array([ParsingBatch.ROOT], dtype=ids.dtype), ids])
