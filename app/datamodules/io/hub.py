"""Splits and labels of a dataset that the `datasets` library has loaded."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from app.datamodules.io.files import SPLITS
from app.datamodules.io.tables import label_value, missing_column
from app.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

log = logging.getLogger(__name__)


def named_splits(dataset: DatasetDict) -> dict[str, Dataset]:
    """The training, validation and test splits, keyed train, val, test; a split of another name is left out, and said.

    Raises:
        InputError: if there is none of them, one is empty, or two are for the same part.
    """
    found: dict[str, Dataset] = {}
    origin: dict[str, str] = {}
    for name, split in dataset.items():
        part = SPLITS.get(name.lower())
        if part is None:
            log.warning("split %r (%d rows) is none of train, validation, test: left out", name, split.num_rows)
        elif part in found:
            raise InputError(f"hub splits {origin[part]!r} and {name!r} are both for {part}; one of them is due")
        elif split.num_rows == 0:
            raise InputError(f"hub split {name!r} is empty; give a dataset whose splits hold rows")
        else:
            found[part], origin[part] = split, name
    if not found:
        names = ", ".join(map(repr, dataset))
        raise InputError(f"hub dataset has the splits {names}; allowed: train, validation, test")
    return {part: found[part] for part in ("train", "val", "test") if part in found}


def check_columns(split: Dataset, columns: list[str], place: str) -> None:
    """Raise InputError, naming the columns that there are, if one of `columns` is not there."""
    for column in columns:
        if column not in split.column_names:
            raise missing_column(place, column, split.column_names)


def split_labels(split: Dataset, column: str, place: str) -> list[str] | None:
    """The label of each row, as text: the name of its class where the dataset has names.

    Returns:
        One label a row, or None where every row has -1 or nothing: the benchmarks' way to keep test labels to
        themselves.

    Raises:
        InputError: for a row whose label is missing or no label, naming it as `place:row`, counted from 1.
    """
    values = list(split.with_format(None)[column])
    if all(value is None or value == -1 for value in values):
        log.warning("%s has no labels (all %d are -1 or missing): left out", place, len(values))
        return None
    names = getattr(split.features[column], "names", None)  # a ClassLabel has them
    labels = []
    for row, value in enumerate(values, start=1):
        if names is not None and value == -1:
            raise InputError(f"{place}:{row}: the label is -1, which names no class; allowed: 0 to {len(names) - 1}")
        label = label_value(value, f"{place}:{row}")
        labels.append(names[value] if names is not None else label)
    return labels
