"""What predict parses: CoNLL-U, or plain text with a sentence a line, from a file or as it comes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Literal

from app.datamodules.io.chunks import Chunks
from app.datamodules.io.files import data_suffix, lines_as_they_come
from app.datamodules.parsing.conllu import Sentence, conllu_lines, parse_conllu
from app.datamodules.parsing.plain_text import sentence_of_text
from app.datamodules.text_classification.reader import texts_to_predict

_SUFFIXES = (".conllu", ".conll")
_MOST_AT_ONCE = 256  # sentences of standard input that are parsed at a time, at most


def sentences_to_parse(
    source: str, form: Literal["auto", "conllu", "text"], language: str, most: int
) -> Chunks[list[Sentence]]:
    """Sentences in their order; a blank line of text is none.

    Args:
        source: a file, which is read and checked whole, or `-` for standard input, whose sentences come in pieces, as
            they arrive.
        form: conllu, text, or auto: conllu for a file that is called .conllu or .conll, text otherwise.
        language: code of the language that text is cut into words by.
        most: sentences of a piece.

    Raises:
        InputError: for a file or line that cannot be read; when it comes to that, for a line of standard input, or a
            source that holds no sentence.
    """
    if form == "auto":
        form = "conllu" if data_suffix(Path(source)) in _SUFFIXES else "text"
    if form == "conllu":
        if source == "-":
            return Chunks(_conllu_as_it_comes(), None)
        lines = conllu_lines(Path(source))
        total = sum(1 for _ in parse_conllu(lines, source, trees=False))  # twice, for parsed sentences take much room
        return Chunks(_in_pieces(parse_conllu(lines, source, trees=False), most), total)
    texts = texts_to_predict(source, "text", most=most, keep_empty=False)
    return Chunks(_of_texts(texts, language), texts.total)


def _in_pieces(sentences: Iterable[Sentence], most: int) -> Iterator[list[Sentence]]:
    rest = iter(sentences)
    while piece := list(islice(rest, most)):
        yield piece


def _conllu_as_it_comes() -> Iterator[list[Sentence]]:
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
        if waits or len(piece) == _MOST_AT_ONCE:
            yield piece
            piece = []
    if piece:
        yield piece


def _of_texts(pieces: Iterable[Sequence[str]], language: str) -> Iterator[list[Sentence]]:
    number = count(1)
    for texts in pieces:
        sentences = [sentence_of_text(text, next(number), language) for text in texts]
        yield [sentence for sentence in sentences if sentence is not None]  # none is: no text is empty
