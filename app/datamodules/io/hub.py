"""Splits, columns and labels of a dataset that the `datasets` library has loaded."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from app.datamodules.io.files import SPLIT_WORDS
from app.datamodules.io.splitting import SPLITS
from app.datamodules.io.tables import class_name, label_value, missing_column
from app.errors import InputError, LineFaults

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

log = logging.getLogger(__name__)


def named_splits(dataset: DatasetDict) -> dict[str, Dataset]:
    """The training, validation and test splits, keyed train, val, test; those of other names are skipped and logged.

    Raises:
        InputError: if there are none of them, one is empty, or two are for the same split.
    """
    found: dict[str, Dataset] = {}
    origin: dict[str, str] = {}
    for name, rows in dataset.items():
        split = SPLIT_WORDS.get(name.lower())
        if split is None:
            log.warning("split %r (%d rows) is skipped: it is none of train, validation, test", name, rows.num_rows)
        elif split in found:
            raise InputError(f"hub splits {origin[split]!r} and {name!r} are both for {split}; keep one of them")
        elif rows.num_rows == 0:
            raise InputError(f"hub split {name!r} is empty; use a dataset whose splits have rows")
        else:
            found[split], origin[split] = rows, name
    if not found:
        names = ", ".join(map(repr, dataset))
        raise InputError(f"hub dataset has the splits {names}; allowed: train, validation, test")
    return {split: found[split] for split in SPLITS if split in found}


def labelled_splits(
    dataset: DatasetDict, column: str, label_column: str
) -> Iterator[tuple[str, str, Dataset, list[str]]]:
    """The named splits that have labels, as (split, its name in errors, its rows, the label of each row).

    Args:
        dataset: the loaded dataset.
        column: column of the text or image.
        label_column: column of the class.

    Raises:
        InputError: for a missing column, a row without a label, or a dataset without any.
    """
    labelled = False
    for split, rows in named_splits(dataset).items():
        place = f"hub split {split!r}"
        check_columns(rows, [column, label_column], place)
        labels = _split_labels(rows, label_column, place)
        if labels is not None:
            labelled = True
            yield split, place, rows.with_format(None), labels
    if not labelled:
        raise InputError(f"hub dataset: no split has labels in column {label_column!r}; name the column that has them")


def check_columns(rows: Dataset, columns: list[str], place: str) -> None:
    """Raise InputError, naming the columns that exist, if one of `columns` does not."""
    for column in columns:
        if column not in rows.column_names:
            raise missing_column(place, column, rows.column_names)


def _split_labels(rows: Dataset, column: str, place: str) -> list[str] | None:
    """The label of each row as text, by the name of its class where the dataset has names.

    Returns:
        One label per row, or None where all rows have -1 or nothing, as in benchmarks that keep their test labels
        secret.

    Raises:
        InputError: for a row whose label is missing or invalid, naming it as `place:row`, counted from 1.
    """
    values = list(rows.with_format(None)[column])
    if all(value is None or value == -1 for value in values):
        log.warning("%s is skipped: it has no labels (all %d are -1 or missing)", place, len(values))
        return None
    names = getattr(rows.features[column], "names", None)  # a ClassLabel has them
    labels = []
    with LineFaults(place) as faults:
        for row, value in enumerate(values, start=1):
            with faults.row():
                where = f"{place}:{row}"
                labels.append(label_value(value if names is None else class_name(value, names, where), where))
    return labels
