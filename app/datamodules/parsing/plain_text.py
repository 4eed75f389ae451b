"""Plain text, one sentence a line, as the CoNLL-U of a sentence that is still to be parsed."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

from app.datamodules.parsing.conllu import COLUMNS, NONE, Sentence

if TYPE_CHECKING:
    from sacremoses import MosesTokenizer


def sentence_of_text(text: str, number: int, language: str) -> Sentence | None:
    """The sentence in `text`, cut into words by Moses' tokenizer.

    Its comments are `sent_id` and `text`, the latter in NFC and with one space for each run of white space; column
    MISC says where no space follows a word there, and ID and FORM are the only other ones that say anything. Where
    Moses changes what it cuts (control characters, or a name that it uses itself), words are what white space
    separates.

    Args:
        text: one sentence; what stands behind it is taken for white space.
        number: of the sentence, which becomes its id.
        language: code such as en; Moses has rules of its own for some.

    Returns:
        The sentence without a tree, or None where there is nothing but white space.
    """
    text = " ".join(unicodedata.normalize("NFC", text).split())
    if not text:
        return None
    language = re.split("[-_]", language.lower())[0]  # en of en_GB
    words = _aligned(_tokenizer(language).tokenize(text, escape=False), text)
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
    """Each word and whether a space or nothing follows it in `text`; None where they are not what `text` is made of."""
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
    from sacremoses import MosesTokenizer  # here, because it takes long to import and only plain text needs it

    return MosesTokenizer(lang=language)
