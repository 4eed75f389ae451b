"""Rows of csv, tsv, JSON lines and parquet files, each with its line.

Decisions: a table has a header unless its style says otherwise; a row that does not fit the first one is an error,
never a guess. In tsv a record is one line, so that a stray quotation mark is reported at its line instead of swallowing
the lines after it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from app.datamodules.io.files import data_suffix, decode, read_bytes, split_lines
from app.errors import InputError, LineFaults, row_of
from app.errors.did_you_mean import did_you_mean

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}

Quoting = Literal["standard", "none"]


@dataclass(frozen=True)
class TableStyle:
    """How csv and tsv files are written.

    Args:
        header: whether the first line names the columns; otherwise they are named by their number, counted from 1.
        quoting: standard, where a field may be in quotation marks, or none, where these are text as any other sign.
    """

    header: bool = True
    quoting: Quoting = "standard"


def read_rows(
    path: Path,
    columns: Sequence[str],
    encoding: str | None = None,
    style: TableStyle | None = None,
    faults: LineFaults | None = None,
) -> Iterator[tuple[int, list[Any]]]:
    """The given columns of each row, in the order of the file.

    Args:
        path: a .csv, .tsv, .jsonl, .json (one object per line) or .parquet file; text files also as .gz or .bz2.
        columns: names in the header (or numbers, see `TableStyle`), keys of the objects, or columns of the parquet
            schema.
        encoding: encoding of text files; by default utf-8.
        style: of csv and tsv; None where it cannot be set.
        faults: collects invalid rows; None to stop at the first.

    Yields:
        (line, values): the line on which the row begins, counted from 1 (in parquet the number of the row), and one
        value per column: str from csv and tsv, any type from the others.

    Raises:
        InputError: for a missing column (naming those that exist) or an invalid row (naming its line).
    """
    suffix = data_suffix(path)
    if suffix == ".parquet":
        yield from _parquet_rows(path, columns, faults)
        return
    text = decode(read_bytes(path), path, encoding or "utf-8")
    if suffix in _DELIMITERS:
        yield from _csv_rows(path, text, columns, _DELIMITERS[suffix], style, faults)
    else:
        yield from _json_rows(path, text, columns, faults)


def text_value(value: Any, place: str, *, allow_empty: bool = False) -> str:
    """The text in a cell, without white space around it.

    Raises:
        InputError: if it is not text, is empty (unless allowed), or has half of a surrogate pair; it names `place`.
    """
    if not isinstance(value, str):
        raise InputError(f"{place}: the text is {_shown(value)}, not a string; correct or delete this row")
    text = value.strip()
    if not text and not allow_empty:
        raise InputError(f"{place}: the text is empty; complete or delete this row")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{place}: the text is not valid Unicode ({error.reason}); correct this row") from error
    return text


def label_value(value: Any, place: str) -> str:
    """The class in a cell, as text: text without white space around it, a whole number, or true / false.

    Raises:
        InputError: if it is empty or of another type; it names `place`.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{place}: the label is {_shown(value)}; allowed: a text or a whole number")
    if not value or not value.strip():
        raise InputError(f"{place}: the label is empty; complete or delete this row")
    return text_value(value, place)


def missing_column(name: object, column: str, there: Sequence[str]) -> InputError:
    """The error for a column that is not among those `there`, with the nearest name."""
    listed = ", ".join(map(repr, there[:20])) + (", ..." if len(there) > 20 else "")
    hint = did_you_mean(column, there)
    return InputError(f"{name}: no column {column!r}{hint} it has {listed or 'none'}; name the column to be read")


def _csv_rows(
    path: Path,
    text: str,
    columns: Sequence[str],
    delimiter: str,
    given_style: TableStyle | None,
    faults: LineFaults | None,
) -> Iterator[tuple[int, list[str]]]:
    style = given_style or TableStyle()
    # newline="\n" counts lines as an editor does: a lone \r or a U+2028 does not end one
    csv.field_size_limit(max(len(text), csv.field_size_limit()))  # module-wide; a text may be longer than the default
    quoting = csv.QUOTE_MINIMAL if style.quoting == "standard" else csv.QUOTE_NONE
    reader = csv.reader(io.StringIO(text, newline="\n"), delimiter=delimiter, strict=True, quoting=quoting)
    names: list[str] = []
    places: list[int] = []
    line = 1
    try:
        for fields in reader:
            if delimiter == "\t" and reader.line_num > line:
                raise csv.Error("a quoted field does not end on its line")
            is_header = style.header and not names
            if not names:
                names = [field.strip() for field in fields] if style.header else _numbers(fields)
                places = _column_places(path, names, columns, given_style)
            if len(fields) != len(names):
                found = f"{len(fields)} fields" if fields else "an empty line"
                first = "header" if style.header else "first line"
                with row_of(faults):
                    raise InputError(
                        f"{path}:{line}: {found} where the {first} has {len(names)} fields; correct or delete this line"
                    )
            elif not is_header:
                yield line, [fields[place] for place in places]
            line = reader.line_num + 1
    except csv.Error as error:
        if "new-line character" in str(error):
            reason, hint = "a carriage return without a line feed", r"end lines with \n or \r\n"
        else:
            reason = str(error)
            hint = 'write a quotation mark inside a quoted field as ""'
            hint += ", or set data.quoting none" if given_style else ""
        raise InputError(f"{path}:{line}: {reason}; {hint}") from error
    if not names:
        wanted = "its first line must name the columns" if style.header else "each line must be a row"
        raise InputError(f"{path}: is empty; {wanted}")


def _numbers(fields: Sequence[str]) -> list[str]:
    return [str(number) for number in range(1, len(fields) + 1)]


def _column_places(path: Path, names: list[str], columns: Sequence[str], style: TableStyle | None) -> list[int]:
    if not any(names):
        wanted = "each must be a row" if style and not style.header else "the first line must name the columns"
        raise InputError(f"{path}:1: is an empty line; {wanted}")
    for column in columns:
        if names.count(column) > 1:
            raise InputError(f"{path}:1: the header names {column!r} twice; rename one of them")
        if column not in names and style and not style.header:
            raise InputError(f"{path}: no column {column!r}; without a header they are numbers, 1 to {len(names)}")
        if column not in names:
            hint = ", or set data.header false if this line is a row" if style else ""
            raise InputError(f"{missing_column(f'{path}:1', column, names)}{hint}")
    return [names.index(column) for column in columns]


def _json_rows(
    path: Path, text: str, columns: Sequence[str], faults: LineFaults | None
) -> Iterator[tuple[int, list[Any]]]:
    for line, record in enumerate(split_lines(text), start=1):
        row = None
        with row_of(faults):
            row = _json_object(record, f"{path}:{line}", columns)
        if row is not None:
            yield line, [row[column] for column in columns]


def _json_object(record: str, place: str, columns: Sequence[str]) -> dict[str, Any]:
    try:
        row = json.loads(record)
    except (ValueError, RecursionError) as error:
        reason = str(error).partition(";")[0] if record.strip() else "an empty line"
        raise InputError(f"{place}: not JSON ({reason}); each line must be one object") from error
    if not isinstance(row, dict):
        raise InputError(f"{place}: {_shown(row)} is not an object; each line must be one object")
    for column in columns:
        if column not in row:
            raise missing_column(place, column, list(row))
    return row


def _parquet_rows(path: Path, columns: Sequence[str], faults: LineFaults | None) -> Iterator[tuple[int, list[Any]]]:
    import pyarrow  # here, because other formats do not need it and its import is slow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(read_bytes(path)))
        for column in columns:
            if column not in file.schema_arrow.names:
                raise missing_column(path, column, file.schema_arrow.names)
        table = file.read(columns=list(columns))
        values = [table.column(column).to_pylist() for column in columns]
        classes = [_class_names(table.schema.metadata, column) for column in columns]
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: not a valid parquet file ({reason}); fetch or write it again") from error
    for row, cells in enumerate(zip(*values, strict=True), start=1):
        named = None
        with row_of(faults):
            named = [
                cell if names is None else class_name(cell, names, f"{path}:{row}")
                for cell, names in zip(cells, classes, strict=True)
            ]
        if named is not None:
            yield row, named


def _class_names(metadata: dict[bytes, bytes] | None, column: str) -> list[str] | None:
    """The names of the classes whose numbers are in a column, if the `datasets` library wrote them with it."""
    try:
        feature = json.loads((metadata or {})[b"huggingface"])["info"]["features"][column]
        return feature["names"] if feature["_type"] == "ClassLabel" else None
    except (KeyError, TypeError, ValueError):  # nothing of the kind
        return None


def class_name(number: Any, names: Sequence[str], place: str) -> str | None:
    """The name of a class; None for a missing number.

    Raises:
        InputError: for a number that is not one of a class; it names `place`.
    """
    if number is None:
        return None
    if not 0 <= number < len(names):
        raise InputError(f"{place}: the label is {number}, which is not a class; allowed: 0 to {len(names) - 1}")
    return names[number]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
