"""Words to subwords, aligned by the tokenizer itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from app.datamodules.tokenizers.tokenizer import TextTokenizer
from app.errors import InputError

NO_WORD = -1


class Subwords(NamedTuple):
    """One sentence of W words as T subwords, special ones included; the first one is special and means the root."""

    ids: np.ndarray  # (T,) int32
    words: np.ndarray  # (T,) int32, the word of each, 1 to W; 0 for the first one, NO_WORD for other special ones


def encode_words(tokenizer: TextTokenizer, sentences: Sequence[Sequence[str]]) -> list[Subwords]:
    """The subwords of sentences of words; each word has at least one.

    A word that the tokenizer removes (some drop control characters) becomes its unknown token, or its padding token if
    it has none.

    Raises:
        InputError: if the tokenizer puts no special token before a sentence, which a parser needs as the root.
    """
    core = tokenizer.core
    core.encode_special_tokens = True  # "[PAD]" as a word is a word
    unknown = core.token_to_id("[UNK]")
    if unknown is None:
        unknown = core.token_to_id("<unk>")
    nothing = tokenizer.pad_id if unknown is None else unknown
    encoded = []
    for words, encoding in zip(
        sentences, core.encode_batch([list(s) for s in sentences], is_pretokenized=True), strict=True
    ):
        word_ids = encoding.word_ids  # None at special tokens
        if not word_ids or word_ids[0] is not None:
            raise InputError(
                "data.tokenizer puts no special token before a sentence, but the parser needs one as the root; use the "
                "tokenizer of an encoder, such as BERT"
            )
        ids = np.array(encoding.ids, dtype=np.int32)
        of_word = np.array([NO_WORD if word is None else word + 1 for word in word_ids], dtype=np.int32)
        of_word[0] = 0
        encoded.append(_with_all_words(Subwords(ids, of_word), len(words), nothing))
    return encoded


def _with_all_words(subwords: Subwords, count: int, nothing: int) -> Subwords:
    ids, words = subwords
    for missing in sorted(set(range(1, count + 1)) - set(words.tolist())):
        place = 1 + int(np.flatnonzero((words >= 0) & (words < missing)).max())  # the root's is always before it
        ids, words = np.insert(ids, place, nothing), np.insert(words, place, missing)
    return Subwords(ids, words)
