"""What predict parses: CoNLL-U, or plain text with a sentence a line, from a file or as it comes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from app.datamodules.conllu import Sentence, parse_conllu, read_conllu
from app.datamodules.files import data_suffix, lines_as_they_come
from app.datamodules.labelled_texts import texts_to_predict
from app.datamodules.plain_sentences import sentence_of_text
from app.errors import InputError

_SUFFIXES = (".conllu", ".conll")
_PIECE = 256  # sentences of standard input that are parsed at a time, at most


def sentences_to_parse(source: str, form: Literal["auto", "conllu", "text"], language: str) -> Iterator[list[Sentence]]:
    """Sentences in their order; a blank line of text is none.

    Args:
        source: a file, or `-` for standard input, whose sentences come in pieces, as they arrive.
        form: conllu, text, or auto: conllu for a file that is called .conllu or .conll, text otherwise.
        language: code of the language that text is cut into words by.

    Raises:
        InputError: for a file or line that cannot be read, or a source that holds no sentence.
    """
    if form == "auto":
        form = "conllu" if data_suffix(Path(source)) in _SUFFIXES else "text"
    count = 0
    for sentences in _conllu(source) if form == "conllu" else _text(source, language):
        count += len(sentences)
        if sentences:
            yield sentences
    if count == 0:
        raise InputError(f"predict_source {source}: holds no sentence; give at least one")


def _conllu(source: str) -> Iterable[list[Sentence]]:
    if source != "-":
        yield read_conllu(Path(source), trees=False)
        return
    piece: list[Sentence] = []
    waits = False  # whether the line read last is the last one that has come

    def lines() -> Iterator[str]:
        nonlocal waits
        for come in lines_as_they_come():
            for left, line in zip(range(len(come) - 1, -1, -1), come, strict=True):
                waits = left == 0
                yield line

    for sentence in parse_conllu(lines(), "standard input", trees=False):
        piece.append(sentence)
        if waits or len(piece) == _PIECE:
            yield piece
            piece = []
    yield piece


def _text(source: str, language: str) -> Iterable[list[Sentence]]:
    number = 0
    for texts in texts_to_predict(source, "text"):
        sentences = []
        for text in texts:
            sentence = sentence_of_text(text, number + 1, language)
            if sentence is not None:
                number += 1
                sentences.append(sentence)
        yield sentences
