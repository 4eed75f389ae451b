r"""Predictions, and the lines in which predict writes them.

A JSON line has everything that is known, exactly. A TSV has the same in columns, one record per line: tab, line break,
carriage return and backslash inside a field are written \t, \n, \r and \\, and a field with quotation marks is quoted
as in CSV, so that CSV readers with a tab as delimiter read it as it is. A plain line is the bare answer, for reading
and for scorers; only its line breaks are changed, to \n and \r.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

Format = Literal["jsonl", "tsv", "plain"]
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
_IN_LISTS = {**_ESCAPES, ord(" "): r"\s"}
_LINE_BREAKS = str.maketrans({"\n": r"\n", "\r": r"\r"})


class Prediction:
    """A record with its prediction; not a dataclass, because Lightning would look for tensors in each of its values.

    Args:
        index: number of the record in its split.
        known: what was read, then what was predicted, by name: texts, numbers, lists of these, one mapping of these, or
            None. All predictions of a task have the same names.
        answer: the bare answer.
        is_block: whether the answer has several lines and its own last line end, as a sentence in CoNLL-U does.
    """

    __slots__ = ("index", "known", "answer", "is_block")

    def __init__(self, index: int, known: dict[str, Any], answer: str, is_block: bool = False) -> None:
        self.index, self.known, self.answer, self.is_block = index, known, answer, is_block


class PredictionLines:
    """Formats predictions as text, a line each (in CoNLL-U, a block and an empty line).

    Args:
        form: jsonl, tsv or plain; None for the task's own.
        output_fields: fields of a JSON line in the task's own format; if there are none, that format is plain.
    """

    def __init__(self, form: Format | None, output_fields: Sequence[str]) -> None:
        self._form = form
        self._output_fields = output_fields
        self._columns: list[str] = []  # of the tsv, once its header is written

    def __call__(self, predictions: Iterable[Prediction]) -> Iterator[str]:
        """Format more predictions, each with its line end; a TSV begins with its header."""
        for prediction in predictions:
            if self._form == "tsv":
                yield from self._tsv(prediction)
            elif self._form == "jsonl":
                yield _json(prediction.known)
            elif self._form is None and self._output_fields:
                yield _json({field: prediction.known[field] for field in self._output_fields})
            else:
                answer = prediction.answer
                yield (answer if prediction.is_block else answer.translate(_LINE_BREAKS)) + "\n"

    def _tsv(self, prediction: Prediction) -> Iterator[str]:
        cells: dict[str, Any] = {}
        for key, value in prediction.known.items():
            cells.update({f"{key}.{name}": v for name, v in value.items()} if isinstance(value, dict) else {key: value})
        if not self._columns:
            self._columns = list(cells)
            yield _tsv_line(self._columns)
        yield _tsv_line(cells[column] for column in self._columns)


def _json(known: dict[str, Any]) -> str:
    return json.dumps(known, ensure_ascii=False) + "\n"


def _tsv_line(values: Iterable[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, delimiter="\t", lineterminator="\n").writerow(map(_cell, values))
    return line.getvalue()


def _cell(value: Any) -> str:
    r"""Format a field of a TSV; items of a list are separated by spaces, and a space inside an item is \s."""
    if isinstance(value, (list, tuple)):
        return " ".join(str(item).translate(_IN_LISTS) for item in value)
    return "" if value is None else str(value).translate(_ESCAPES)
