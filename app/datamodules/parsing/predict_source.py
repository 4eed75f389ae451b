"""Sentences to parse: CoNLL-U, or plain text with one sentence per line, from a file or from standard input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

from app.datamodules.io.chunks import Chunks
from app.datamodules.io.files import data_suffix, lines_as_they_come
from app.datamodules.io.texts import texts_to_predict
from app.datamodules.parsing.conllu import CONLLU_SUFFIXES, Sentence, conllu_lines, parse_conllu
from app.datamodules.parsing.plain_text import sentence_of_text
from app.errors import LineFaults

_MAX_AT_ONCE = 256  # sentences of standard input that are parsed at a time


def sentences_to_parse(
    source: str, form: Literal["auto", "conllu", "text"], language: str, encoding: str, chunk_size: int
) -> Chunks[list[Sentence]]:
    """The sentences in order; blank lines of text are skipped.

    Args:
        source: a file, which is read and checked as a whole, or `-` for standard input, whose sentences come in chunks,
            as they arrive.
        form: conllu, text, or auto: conllu for a file named .conllu or .conll, text otherwise.
        language: code of the language whose rules cut text into words.
        encoding: of text; CoNLL-U is utf-8.
        chunk_size: number of sentences of a chunk.

    Raises:
        InputError: for a file or line that cannot be read, or without any sentence; for standard input when this is
            found.
    """
    if form == "auto":
        form = "conllu" if data_suffix(Path(source)) in CONLLU_SUFFIXES else "text"
    if form == "conllu":
        if source == "-":
            return Chunks(_conllu_as_it_comes(), None)
        lines = conllu_lines(Path(source))
        with LineFaults(source) as faults:  # parsed twice, to keep few in memory
            total = sum(1 for _ in parse_conllu(lines, source, trees=False, faults=faults))
        return Chunks(_in_chunks(parse_conllu(lines, source, trees=False), chunk_size), total)
    texts = texts_to_predict(source, "text", encoding, chunk_size=chunk_size, keep_empty=False)
    return texts.map_numbered(
        lambda chunk, before: [sentence_of_text(text, n, language) for n, text in enumerate(chunk, start=before + 1)]
    )


def _in_chunks(sentences: Iterable[Sentence], size: int) -> Iterator[list[Sentence]]:
    rest = iter(sentences)
    while chunk := list(islice(rest, size)):
        yield chunk


def _conllu_as_it_comes() -> Iterator[list[Sentence]]:
    chunk: list[Sentence] = []
    waits = False  # whether the line read last is the last one that has arrived

    def lines() -> Iterator[str]:
        nonlocal waits
        for come in lines_as_they_come():
            for left, line in zip(range(len(come) - 1, -1, -1), come, strict=True):
                waits = left == 0
                yield line

    for sentence in parse_conllu(lines(), "standard input", trees=False):
        chunk.append(sentence)
        if waits or len(chunk) == _MAX_AT_ONCE:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
