"""Names of classes and their ids."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from app.errors import InputError, LineFaults

_MAX_NAMED, _MAX_SHOWN = 10, 30  # classes in a log line, and characters of each

log = logging.getLogger(__name__)


class Labelled(Protocol):
    """Examples with one class each that know where they were read."""

    labels: Sequence[str]

    def where(self, index: int) -> str:
        """`FILE:LINE` of an example, for errors."""


def class_names(labels: Sequence[str], given: Sequence[str] | None, source: str) -> tuple[str, ...]:
    """The classes in the order of their ids: as given, or those of the training split, sorted (numbers by value).

    Raises:
        InputError: if there are fewer than two, or one is given twice.
    """
    found = given or sorted(set(labels), key=lambda label: (int(label), "") if label.isdecimal() else (-1, label))
    if len(set(found)) < 2 or len(set(found)) < len(found):
        there = f"data.labels is {list(given)}" if given else f"{source}: the classes are {', '.join(found)}"
        raise InputError(f"{there}; there must be two or more, all different")
    return tuple(found)


def label_ids(examples: Labelled, classes: Sequence[str]) -> np.ndarray:
    """The class ids of N examples, int64.

    Raises:
        InputError: naming file and line of the labels that are not classes.
    """
    ids = {label: number for number, label in enumerate(classes)}
    with LineFaults("") as faults:
        for index, label in enumerate(examples.labels):
            if label not in ids:
                where = examples.where(index)
                faults.add(InputError(f"{where}: label {label!r} is outside the set; allowed: {', '.join(classes)}"))
    return np.array([ids[label] for label in examples.labels], dtype=np.int64)


def majority_accuracy(labels: np.ndarray, test_labels: np.ndarray) -> float:
    """The accuracy of always choosing the most frequent class of the training split."""
    return float(np.mean(test_labels == np.bincount(labels).argmax()))


def count_classes(name: str, ids: np.ndarray, classes: Sequence[str]) -> tuple[int, ...]:
    """Count the examples of each class in the training split, and log number, names and counts."""
    found = tuple(np.bincount(ids, minlength=len(classes)).tolist())
    counts = sorted(zip(classes, found, strict=True), key=lambda pair: -pair[1])
    named = ", ".join(f"{label[:_MAX_SHOWN]} ({count})" for label, count in counts[:_MAX_NAMED])
    if len(counts) > _MAX_NAMED:
        more = counts[_MAX_NAMED:]
        named += f" and {len(more)} more with {more[-1][1]} to {more[0][1]} examples each"
    log.info("%s: %d classes in the training split: %s", name, len(counts), named)
    return found
