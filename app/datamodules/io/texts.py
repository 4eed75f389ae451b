"""Texts to predict something for, from a file or from standard input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from app.datamodules.io.chunks import Chunks, chunked
from app.datamodules.io.files import data_suffix, lines_as_they_come, read_lines
from app.datamodules.io.tables import TABLE_SUFFIXES, read_rows, text_value
from app.errors import InputError


def texts_to_predict(
    source: str,
    text_column: str,
    encoding: str | None = None,
    *,
    chunk_size: int,
    strip: bool = True,
    keep_empty: bool = True,
) -> Chunks[Sequence[str]]:
    """The texts to predict something for, one per record, in order.

    A file is read and checked as a whole, so that an error in its last line does not come after hours.

    Args:
        source: `-` for standard input, whose lines come in chunks, as they arrive; a csv, tsv, jsonl or parquet file,
            whose text column is read; any other file has one sentence per line.
        text_column: column of the text in csv, tsv, jsonl and parquet.
        encoding: by default utf-8.
        chunk_size: number of records of a chunk.
        strip: remove the white space around a line.
        keep_empty: whether an empty text is a record.

    Raises:
        InputError: for a file or line that cannot be read, or without any text; for standard input when this is found.
    """
    if not source:
        raise InputError("predict_source is empty; use the path of a file, or - for standard input")

    def clean(texts: Iterable[str]) -> list[str]:
        cleaned = [text.strip() for text in texts] if strip else list(texts)
        return cleaned if keep_empty else [text for text in cleaned if text]

    if source == "-":
        return Chunks(_not_empty(map(clean, lines_as_they_come(encoding or "utf-8")), source), None)
    if data_suffix(Path(source)) in TABLE_SUFFIXES:
        rows = read_rows(Path(source), [text_column], encoding)
        texts = clean(text_value(text, f"{source}:{line}", allow_empty=True) for line, (text,) in rows)
    else:
        texts = clean(read_lines(Path(source), encoding))
    chunks = chunked(texts, chunk_size)
    return Chunks(_not_empty(chunks, source), chunks.total)


def _not_empty(chunks: Iterable[Sequence[str]], source: str) -> Iterator[Sequence[str]]:
    """The chunks that are not empty, of which there must be one."""
    chunk: Sequence[str] = ()
    for chunk in filter(None, chunks):
        yield chunk
    if not chunk:
        raise InputError(f"predict_source {source}: has nothing to predict for; it must have at least one line")
