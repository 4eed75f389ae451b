"""Plain text, one sentence per line, as CoNLL-U without trees."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

from app.datamodules.parsing.conllu import COLUMNS, NONE, Sentence
from app.languages import short_code

if TYPE_CHECKING:
    from sacremoses import MosesTokenizer


def sentence_of_text(text: str, number: int, language: str) -> Sentence:
    """The sentence in a text, cut into words by Moses' tokenizer, without a tree.

    Its comments are `sent_id` and `text`, the latter in NFC and with one space for each run of white space; column
    MISC says where no space follows a word there, and only ID and FORM are filled in besides. If Moses changes the text
    (control characters, or a name that it uses itself), the words are what white space separates.

    Args:
        text: one sentence; it has more than white space.
        number: number of the sentence, which becomes its id.
        language: code such as en; Moses has special rules for some languages.
    """
    text = " ".join(unicodedata.normalize("NFC", text).split())
    assert text
    words = _aligned(_tokenizer(short_code(language)).tokenize(text, escape=False), text)
    words = words or [(word, True) for word in text.split(" ")]
    rows = []
    for word, (form, is_spaced) in enumerate(words, start=1):
        misc = NONE if is_spaced else "SpaceAfter=No"
        rows.append("\t".join([str(word), form, *[NONE] * (len(COLUMNS) - 3), misc]))
    comments = (f"# sent_id = {number}", f"# text = {text}")
    nothing = (NONE,) * len(words)
    return Sentence(
        (*comments, *rows),
        tuple(range(len(comments), len(comments) + len(words))),
        tuple(form for form, _ in words),
        upos=nothing,
        xpos=nothing,
        heads=None,
        relations=None,
        place=f"sentence {number}",
    )


def _aligned(words: list[str], text: str) -> list[tuple[str, bool]] | None:
    """Each word and whether a space or nothing follows it in `text`; None if the text does not consist of the words."""
    aligned = []
    begin = 0
    for word in words:
        end = begin + len(word)
        if text[begin:end] != word:
            return None
        is_spaced = text[end : end + 1] in ("", " ")
        aligned.append((word, is_spaced))
        begin = end + is_spaced
    return aligned if begin > len(text) else None


@lru_cache
def _tokenizer(language: str) -> MosesTokenizer:
    from sacremoses import MosesTokenizer  # here, because its import is slow and only plain text needs it

    return MosesTokenizer(lang=language)
