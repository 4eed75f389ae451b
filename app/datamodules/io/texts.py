"""Texts to predict something for, from a file or from standard input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from app.datamodules.io.chunks import Chunks, chunked
from app.datamodules.io.files import data_suffix, lines_as_they_come, read_lines
from app.datamodules.io.tables import TABLE_SUFFIXES, TableStyle, read_rows, text_value
from app.errors import InputError, LineFaults


def texts_to_predict(
    source: str,
    text_column: str,
    encoding: str = "utf-8",
    *,
    chunk_size: int,
    style: TableStyle | None = None,
    read: Callable[[Path, str], Iterable[str]] = read_lines,
    prepare: Callable[[str], str] = str.strip,
    keep_empty: bool = True,
) -> Chunks[Sequence[str]]:
    """The texts to predict something for, one per record, in order.

    A file is read and checked as a whole, so that an error in its last line does not come after hours.

    Args:
        source: `-` for standard input, whose lines come in chunks, as they arrive; a csv, tsv, jsonl or parquet file,
            whose text column is read; or any other file.
        text_column: column of the text in csv, tsv, jsonl and parquet.
        encoding: of text files and of standard input.
        chunk_size: number of records of a chunk.
        style: of csv and tsv; None where it cannot be set.
        read: the texts of a file that is not a table, from its path and the encoding; by default its lines.
        prepare: makes of each text what the reader of the task makes of the same text in a corpus.
        keep_empty: whether an empty text is a record.

    Raises:
        InputError: for a file or line that cannot be read, or without any text; for standard input when this is found.
    """
    if not source:
        raise InputError("predict_source is empty; use the path of a file, or - for standard input")

    def clean(texts: Iterable[str]) -> list[str]:
        return [text for text in map(prepare, texts) if text or keep_empty]

    if source == "-":
        return Chunks(_not_empty(map(clean, lines_as_they_come(encoding)), source), None)
    if data_suffix(Path(source)) in TABLE_SUFFIXES:
        found = []
        with LineFaults(source) as faults:
            for line, (text,) in read_rows(Path(source), [text_column], encoding, style, faults):
                with faults.row():
                    found.append(text_value(text, f"{source}:{line}", allow_empty=True))
        texts = clean(found)
    else:
        texts = clean(read(Path(source), encoding))
    chunks = chunked(texts, chunk_size)
    return Chunks(_not_empty(chunks, source), chunks.total)


def _not_empty(chunks: Iterable[Sequence[str]], source: str) -> Iterator[Sequence[str]]:
    """The chunks that are not empty, of which there must be one."""
    chunk: Sequence[str] = ()
    for chunk in filter(None, chunks):
        yield chunk
    if not chunk:
        raise InputError(f"predict_source {source}: has nothing to predict for; it must have at least one line")
