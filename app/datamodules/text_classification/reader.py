"""Sentences with a class each, out of the formats in which such data is published.

Decisions: every example remembers its file and line; what cannot be read is an error that names them, and nothing is
skipped in silence. White space around a text or a label is no part of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.datamodules.io.chunks import Chunks, cut
from app.datamodules.io.files import (
    by_split,
    data_suffix,
    decode,
    lines_as_they_come,
    read_bytes,
    split_lines,
    visible_files,
)
from app.datamodules.io.hub import check_columns, named_splits, split_labels
from app.datamodules.io.tables import TABLE_SUFFIXES, label_value, read_rows, text_value
from app.errors import InputError

if TYPE_CHECKING:
    from datasets import DatasetDict

_LAYOUTS = {
    "table": TABLE_SUFFIXES,
    "sst": (".train", ".dev", ".test"),
    "polarity": (".pos", ".neg"),
}
_ALLOWED = "csv, tsv, jsonl or parquet (one file, or one a split); *.train, *.dev, *.test; *.pos and *.neg"


@dataclass(frozen=True)
class LabelledTexts:
    """N texts of one split, in the order of their files; the four lists are of length N.

    Args:
        texts: never empty, and without white space around them.
        labels: the class of each text, as text.
        files: where each text was read: a file's path, or the name of a hub split.
        lines: its line there, counted from 1; in parquet and hub datasets its row.
        left_out: how many more there were of each label that was to be left out.
    """

    texts: list[str]
    labels: list[str]
    files: list[str]  # one string object a file: a pointer an example
    lines: list[int]
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert len(self.texts) == len(self.labels) == len(self.files) == len(self.lines)

    def __len__(self) -> int:
        return len(self.texts)

    def where(self, index: int) -> str:
        """`FILE:LINE` of an example, the beginning of an error about it."""
        return f"{self.files[index]}:{self.lines[index]}"

    def subset(self, indices: Iterable[int]) -> LabelledTexts:
        """The examples at `indices`, in their order."""
        chosen = list(indices)
        return LabelledTexts(
            [self.texts[index] for index in chosen],
            [self.labels[index] for index in chosen],
            [self.files[index] for index in chosen],
            [self.lines[index] for index in chosen],
            self.left_out,
        )

    def without_repetitions(self) -> LabelledTexts:
        """Each text once: where it first stands, with the label that it has there."""
        first = {text: index for index, text in reversed(list(enumerate(self.texts)))}
        return self.subset(sorted(first.values()))


def read_labelled_texts(
    source: Path | DatasetDict,
    *,
    text_column: str = "text",
    label_column: str = "label",
    ignore_labels: Collection[str] = (),
    delimiter: str | None = None,
    encoding: str | None = None,
) -> dict[str, LabelledTexts]:
    """All examples, by split.

    Read are, as a file or as a folder with one file a split: csv, tsv, jsonl and parquet (see `tables.read_rows`);
    SST's `*.train`, `*.dev`, `*.test` with `LABEL sentence` a line; `*.pos` beside `*.neg` with one sentence a line,
    whose labels are `pos` and `neg`, in this order; and what the hub sent.

    Args:
        source: a file, a folder, or a loaded hub dataset.
        text_column: where csv, tsv, jsonl, parquet and hub data have the text.
        label_column: where they have the class; a hub dataset's own class names are used.
        ignore_labels: classes to leave out; their rows are counted in `left_out`, and may be without text.
        delimiter: of csv and tsv; by default a comma and a tab.
        encoding: by default utf-8; *.pos and *.neg that are no utf-8 are read as cp1252, as RT was published.

    Returns:
        `train`, `val`, `test`, as far as names of files or splits say so, or `all` where nothing is split. A hub split
        without labels is not among them.

    Raises:
        InputError: for a layout that is unknown or ambiguous, a line that cannot be read, or a split without examples.
    """
    columns = [text_column, label_column]
    splits = {}
    if not isinstance(source, Path):
        splits = _read_hub(source, columns, ignore_labels)
    else:
        layout, files = _recognise(source)
        if layout == "polarity":
            splits = _read_polarity(source, files, ignore_labels, encoding)
        else:
            for split, file in by_split(files).items():
                rows = _sst_rows(file, encoding) if layout == "sst" else read_rows(file, columns, delimiter, encoding)
                splits[split] = _collect(str(file), rows, ignore_labels)
    return splits


def texts_to_predict(
    source: str,
    text_column: str,
    encoding: str | None = None,
    *,
    most: int,
    strip: bool = True,
    keep_empty: bool = True,
) -> Chunks[Sequence[str]]:
    """Texts to predict something for, one for each record, in order.

    A file is read and checked whole, so that its last line is no surprise after hours, and handed out in pieces.

    Args:
        source: `-` for standard input, whose lines come in pieces, as they arrive; a csv, tsv, jsonl or parquet file,
            whose text column is read; any other file has one sentence a line.
        text_column: see `read_labelled_texts`, as is `encoding`.
        encoding: by default utf-8.
        most: records of a piece.
        strip: without the white space around a line, which is no part of a sentence.
        keep_empty: an empty text is a record.

    Raises:
        InputError: for a file or line that cannot be read; when it comes to that, for a line of standard input, or a
            source that holds nothing.
    """
    if not source:
        raise InputError("predict_source is empty; give a file, or - for standard input")

    def clean(texts: Iterable[str]) -> list[str]:
        cleaned = [text.strip() for text in texts] if strip else list(texts)
        return cleaned if keep_empty else [text for text in cleaned if text]

    if source == "-":
        return Chunks(_some(map(clean, lines_as_they_come(encoding or "utf-8")), source), None)
    if data_suffix(Path(source)) in TABLE_SUFFIXES:
        rows = read_rows(Path(source), [text_column], encoding=encoding)
        texts = clean(text_value(text, f"{source}:{line}", allow_empty=True) for line, (text,) in rows)
    else:
        texts = clean(split_lines(decode(read_bytes(Path(source)), source, encoding or "utf-8")))
    pieces = cut(texts, most)
    return Chunks(_some(pieces, source), pieces.total)


def _some(pieces: Iterable[Sequence[str]], source: str) -> Iterator[Sequence[str]]:
    """The pieces that are not empty, of which there must be one."""
    piece: Sequence[str] = ()
    for piece in filter(None, pieces):
        yield piece
    if not piece:
        raise InputError(f"predict_source {source}: holds nothing to predict for; give at least one line")


def _recognise(source: Path) -> tuple[str, list[Path]]:
    """The layout of a file or folder and the files that belong to it."""
    candidates = visible_files(source) if source.is_dir() else [source]
    found = {
        layout: [file for file in candidates if data_suffix(file) in suffixes] for layout, suffixes in _LAYOUTS.items()
    }
    present = {layout: files for layout, files in found.items() if files}
    if not present:
        names = ", ".join(sorted(entry.name for entry in source.iterdir())[:8]) if source.is_dir() else ""
        holds = f" among {names}" if names else ""
        raise InputError(f"{source}: no text classification data{holds}; allowed: {_ALLOWED}")
    if len(present) > 1:
        names = ", ".join(file.name for files in present.values() for file in files)
        raise InputError(f"{source}: {names} are of different layouts; give one file, or a folder with one layout")
    return present.popitem()


def _collect(place: str, rows: Iterable[tuple[int, Sequence[Any]]], ignore_labels: Collection[str]) -> LabelledTexts:
    """Check and gather (line, (text, label)) of one file or hub split, which errors call `place`."""
    texts, labels, lines, left_out = [], [], [], Counter[str]()
    for line, (text, label) in rows:
        label = label_value(label, f"{place}:{line}")
        if label in ignore_labels:
            left_out[label] += 1
            continue
        texts.append(text_value(text, f"{place}:{line}"))
        labels.append(label)
        lines.append(line)
    if not texts:
        besides = f" besides those labelled {', '.join(sorted(left_out))}, which are left out" if left_out else ""
        raise InputError(f"{place}: holds no examples{besides}; give data that does")
    return LabelledTexts(texts, labels, [place] * len(texts), lines, left_out)


def _sst_rows(file: Path, encoding: str | None) -> Iterable[tuple[int, Sequence[str]]]:
    for line, record in enumerate(split_lines(decode(read_bytes(file), file, encoding or "utf-8")), start=1):
        fields = record.split(maxsplit=1)
        if len(fields) != 2:
            found = f"only {record.strip()!r}" if fields else "an empty line"
            raise InputError(f"{file}:{line}: {found}; each line is a label, a space and a sentence")
        yield line, fields[::-1]


def _read_polarity(
    source: Path, files: list[Path], ignore_labels: Collection[str], encoding: str | None
) -> dict[str, LabelledTexts]:
    sides = {label: by_split(file for file in files if data_suffix(file) == f".{label}") for label in ("pos", "neg")}
    if sides["pos"].keys() != sides["neg"].keys():
        names = ", ".join(file.name for file in files)
        raise InputError(f"{source}: of {names}, one has no partner; give a folder with a .pos beside each .neg")
    splits = {}
    for split in sides["pos"]:
        pos, neg = (_read_sentences(sides[label][split], label, ignore_labels, encoding) for label in ("pos", "neg"))
        splits[split] = LabelledTexts(
            pos.texts + neg.texts, pos.labels + neg.labels, pos.files + neg.files, pos.lines + neg.lines
        )
    return splits


def _read_sentences(file: Path, label: str, ignore_labels: Collection[str], encoding: str | None) -> LabelledTexts:
    data = read_bytes(file)
    if encoding is None:
        try:
            data.decode()
            encoding = "utf-8"
        except UnicodeDecodeError:
            encoding = "cp1252"
    lines = split_lines(decode(data, file, encoding))
    return _collect(str(file), enumerate(((sentence, label) for sentence in lines), start=1), ignore_labels)


def _read_hub(dataset: DatasetDict, columns: list[str], ignore_labels: Collection[str]) -> dict[str, LabelledTexts]:
    splits = {}
    for split, rows in named_splits(dataset).items():
        place = f"hub split {split!r}"
        check_columns(rows, columns, place)
        labels = split_labels(rows, columns[1], place)
        if labels is not None:
            texts = rows.with_format(None)[columns[0]]
            splits[split] = _collect(place, enumerate(zip(texts, labels, strict=True), start=1), ignore_labels)
    if not splits:
        raise InputError(f"hub dataset: no split has labels in column {columns[1]!r}; name the column that has them")
    return splits
