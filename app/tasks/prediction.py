r"""What a task says about one record, and the lines that predict makes of it.

Decisions: a json line has everything that is known, exactly. A tsv has the same in columns, a record a line: tab, line
break, carriage return and backslash inside a field are written \t, \n, \r and \\, and a field with quotation marks is
quoted as in csv, so that csv readers with a tab as delimiter take it as it is. A plain line is the bare answer, for
reading and for scorers, and is changed in nothing but line breaks, which are written \n and \r.
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
    """One record with its prediction; no dataclass, for Lightning would look for tensors in each of its values.

    Args:
        index: number of the record in its split.
        known: what was read, then what was predicted, by name: texts, numbers, lists of these, one mapping of these, or
            None. All predictions of a task have the same names.
        answer: the bare answer.
        is_block: the answer is of several lines, and ends with a line end of its own, as a sentence in CoNLL-U does.
    """

    __slots__ = ("index", "known", "answer", "is_block")

    def __init__(self, index: int, known: dict[str, Any], answer: str, is_block: bool = False) -> None:
        self.index, self.known, self.answer, self.is_block = index, known, answer, is_block


class PredictionLines:
    """Predictions as text, a line each (of CoNLL-U, a block and an empty line).

    Args:
        form: jsonl, tsv or plain; None for what is the task's own.
        output_fields: what a json line of the task's own form has; none of them: that form is the plain one.
    """

    def __init__(self, form: Format | None, output_fields: Sequence[str]) -> None:
        self._form = form
        self._own_keys = output_fields
        self._columns: list[str] = []  # of the tsv, once its header is written

    def __call__(self, predictions: Iterable[Prediction]) -> Iterator[str]:
        """The text of some more predictions, each with its line end; before the first of a tsv, its header."""
        for prediction in predictions:
            if self._form == "tsv":
                yield from self._tsv(prediction)
            elif self._form == "jsonl":
                yield _json(prediction.known)
            elif self._form is None and self._own_keys:
                yield _json({key: prediction.known[key] for key in self._own_keys})
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
    r"""A field of a tsv; of a list, its items with a space between them, and \s for one inside an item."""
    if isinstance(value, (list, tuple)):
        return " ".join(str(item).translate(_IN_LISTS) for item in value)
    return "" if value is None else str(value).translate(_ESCAPES)
