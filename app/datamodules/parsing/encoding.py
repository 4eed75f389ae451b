"""Encoding of sentences of a treebank as ids, and which words are scored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.batches import ParsingBatch, universal_ids
from app.datamodules.parsing.conllu import Sentence
from app.datamodules.parsing.projectivity import projectivize
from app.datamodules.parsing.split import EncodedSentence
from app.datamodules.parsing.vocabularies import Reading, TreebankVocabularies
from app.datamodules.parsing.word_alignment import encode_words
from app.datamodules.tokenizers.tokenizer import TextTokenizer
from app.errors import InputError

PUNCTUATION = "punct"
_PTB_PUNCTUATION = frozenset(("``", "''", ":", ",", "."))  # the five tags that scores on the Penn Treebank skip
_MAX_LETTERS = 20  # of a word; of a longer one, the first ten and the last ten are used


class TreebankEncoder:
    """The encoder of sentences, with the vocabularies of a training split.

    Args:
        vocabularies: the vocabularies.
        reading: how sentences are read, as they were for the vocabularies.
        score_without: names of additional scores: `punct` skips punctuation, any other name the words with that
            relation.
        tokenizer: the tokenizer of subwords; None for none.

    Raises:
        InputError: for a relation in score_without that the training split does not have.
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
        self._universal_ids = universal_ids(vocabularies.relations)
        for name in self.score_without:
            if name != PUNCTUATION and name not in vocabularies.relations:
                raise InputError(
                    f"data.score_without names {name!r}; allowed: punct and the relations of the training split: "
                    f"{', '.join(vocabularies.relations) or 'none'}"
                )

    @property
    def features(self) -> dict[str, int]:
        """The size of each vocabulary, for embeddings."""
        known = self.vocabularies
        sizes = {"words": known.words, "tags": known.tags, "characters": known.letters}
        return {name: len(vocabulary) for name, vocabulary in sizes.items() if vocabulary is not None}

    @property
    def digest(self) -> str:
        """A digest that is equal where subwords, words, tags and letters have the same ids."""
        known = self.vocabularies
        tables = (self.tokenizer, known.words, known.tags, known.letters)
        return "-".join(table.digest for table in tables if table is not None)

    def encode(self, sentences: Sequence[Sentence]) -> list[EncodedSentence]:
        """The sentences as ids; in those without a tree all heads are the root, and must not be read."""
        known, reading = self.vocabularies, self.reading
        subwords = encode_words(self.tokenizer, [s.forms for s in sentences]) if self.tokenizer is not None else None
        encoded = []
        for number, sentence in enumerate(sentences):
            heads = sentence.heads or (0,) * len(sentence.forms)
            encoded.append(
                EncodedSentence(
                    words=_with_root(known.words.encode(reading.words(sentence))),
                    tags=_with_root(known.tags.encode(reading.tags_of(sentence))) if known.tags else None,
                    characters=self._letters_of(sentence) if known.letters else None,
                    subwords=subwords[number] if subwords is not None else None,
                    heads=np.array(heads, dtype=np.int32),
                    relations=self._encode_relations(sentence, self._relation_ids),
                    projective_heads=np.array(projectivize(heads) if sentence.heads else heads, dtype=np.int32),
                    scored=self._scored(sentence),
                    universal_relations=self._encode_relations(sentence, self._universal_ids, subtypes=False),
                )
            )
        return encoded

    def _letters_of(self, sentence: Sentence) -> np.ndarray:
        """(W + 1, C) ids of the letters of each word, with C the length of the longest word."""
        assert self.vocabularies.letters is not None
        half = _MAX_LETTERS // 2
        words = [word if len(word) <= _MAX_LETTERS else word[:half] + word[-half:] for word in sentence.forms]
        ids = np.full((len(words) + 1, max(map(len, words))), ParsingBatch.PAD, dtype=np.int32)
        ids[0, 0] = ParsingBatch.ROOT
        for row, word in enumerate(words, start=1):
            ids[row, : len(word)] = self.vocabularies.letters.encode(word)
        return ids

    def _encode_relations(self, sentence: Sentence, ids: dict[str, int], subtypes: bool = True) -> np.ndarray:
        """(W,) ids; zeros where relations are not learned, IGNORED for one that the training split does not have."""
        if not self.vocabularies.relations or sentence.relations is None:
            return np.zeros(len(sentence.forms), dtype=np.int32)
        relations = (self.reading.relation(r) if subtypes else r.partition(":")[0] for r in sentence.relations)
        return np.array([ids.get(relation, ParsingBatch.IGNORED) for relation in relations], dtype=np.int32)

    def _scored(self, sentence: Sentence) -> np.ndarray:
        """(W, G) bool, whether each word counts in each of the additional scores."""
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


def _with_root(ids: np.ndarray) -> np.ndarray:
    return np.concatenate([np.array([ParsingBatch.ROOT], dtype=ids.dtype), ids])
