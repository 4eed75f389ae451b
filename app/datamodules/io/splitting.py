"""The splits train, val and test of any dataset: as published, from sources of their own, or chosen at random.

Decisions: equal examples stay in one of the splits that are chosen here; what published splits share stays, and is
counted in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence, Sized
from typing import Protocol, Self, TypeVar

import numpy as np

from app.errors import InputError

_MAX_NAMED = 10  # classes in a log line

log = logging.getLogger(__name__)
SPLITS = ("train", "val", "test")
Found = TypeVar("Found")


class Examples(Protocol):
    """Examples that can be split."""

    @property
    def keys(self) -> Sequence[Hashable]:
        """What each example is compared by: those with equal keys are repetitions of one another."""

    @property
    def answers(self) -> Sequence[Hashable]:
        """What is to be predicted for each example: its class, its tree, its translation."""

    def __len__(self) -> int: ...

    def subset(self, indices: np.ndarray) -> Self:
        """The examples at `indices`."""


AnyExamples = TypeVar("AnyExamples", bound=Examples)


def read_splits(
    read: Callable[[str], dict[str, Found]], source: str, own_sources: Mapping[str, str | None]
) -> dict[str, Found]:
    """What `read` finds in a source, by split, with the splits that have a source of their own read from that.

    Args:
        read: reads a source; the result is keyed train, val, test, or `all` where nothing is split.
        source: the source of all splits.
        own_sources: source of val and of test (`data.val_source`, `data.test_source`), or None.

    Raises:
        InputError: for a source of one split that has several, and not this one.
    """
    splits = read(source)
    for split, own in own_sources.items():
        if own is not None:
            found = read(own)
            if split not in found and len(found) > 1:
                raise InputError(
                    f"data.{split}_source {own}: has {', '.join(found)}, but no {split} split; name the one you mean"
                )
            splits[split] = found[split] if split in found else next(iter(found.values()))
    return splits


def complete_splits(
    found: dict[str, AnyExamples], fractions: dict[str, float], seed: int, classes: bool = False
) -> dict[str, AnyExamples]:
    """The splits train, val and test: as published, and where missing chosen at random from `all` or `train`.

    Examples with equal keys stay in one split; fractions are of the distinct ones.

    Args:
        found: what was read: `all`, or `train` with or without `val` and `test`.
        fractions: fraction of `val` and of `test`, used where they are missing.
        seed: seeds the choice.
        classes: whether answers are classes, each of which must be in the training split: if the choice leaves none of
            a class there, the first example of the class (with its repetitions) is moved to it.

    Raises:
        InputError: if there is nothing to train on, a fraction is not between 0 and 1, or a split is empty.
    """
    whole = training_source(found, "the source")
    if seed < 0:
        raise InputError(f"data.split_seed is {seed}; it must be >= 0")
    splits, count = {"train": whole, **found}, f"{len(whole)} examples"
    missing = {split: checked_fraction(fractions, split) for split in fractions if split not in found}
    if missing:
        numbers: dict[Hashable, int] = {}  # of the distinct examples, in the order in which they first appear
        distinct = np.array([numbers.setdefault(key, len(numbers)) for key in whole.keys], dtype=np.int64)  # (N,)
        shuffled = np.random.default_rng(seed).permutation(len(numbers))
        chosen_for = np.zeros(len(numbers), dtype=np.int64)  # the place in SPLITS of each distinct example
        begin = 0
        for split, fraction in missing.items():
            end = begin + round(fraction * len(numbers))
            chosen_for[shuffled[begin:end]] = SPLITS.index(split)
            begin = end
        if classes and not chosen_for.all():  # an empty training split is refused below
            _return_lost_classes(whole.answers, distinct, chosen_for)
        for split in ("train", *missing):
            splits[split] = whole.subset(np.flatnonzero(chosen_for[distinct] == SPLITS.index(split)))
        count += f", {len(numbers)} of them distinct," if len(numbers) < len(whole) else ""
    for split in SPLITS:
        if len(splits[split]) == 0:
            raise empty_split("the source", split, count, fractions)
    return {split: splits[split] for split in SPLITS}


def _return_lost_classes(labels: Sequence[Hashable], distinct: np.ndarray, chosen_for: np.ndarray) -> None:
    """Move the first example of each class that has none in the training split there, in place, and log it."""
    trained_on = {label for label, place in zip(labels, chosen_for[distinct], strict=True) if place == 0}
    lost = [label for label in dict.fromkeys(labels) if label not in trained_on]
    if lost:
        chosen_for[distinct[[labels.index(label) for label in lost]]] = 0
        named = ", ".join(map(repr, lost[:_MAX_NAMED]))
        more = f" and {len(lost) - _MAX_NAMED} more" if len(lost) > _MAX_NAMED else ""
        log.warning("moved one example to the training split of each class that had none there: %s%s", named, more)


def training_source(found: Mapping[str, Found], place: str) -> Found:
    """What is to be trained on, with what is to be split off it: `all`, or `train`; errors about it name `place`."""
    for split in ("all", "train"):
        if split in found:
            return found[split]
    raise InputError(f"{place} has {', '.join(found)} but no training split; add one, or name it train")


def checked_fraction(fractions: Mapping[str, float], split: str) -> float:
    """The fraction of a split.

    Raises:
        InputError: unless it is between 0 and 1.
    """
    if not 0 < fractions[split] < 1:
        raise InputError(f"data.{split}_fraction is {fractions[split]}; it must be above 0 and below 1")
    return fractions[split]


def empty_split(place: str, split: str, count: str, fractions: Mapping[str, float]) -> InputError:
    """The error for a split that no example is left for."""
    return InputError(
        f"{place}: the {split} split is empty: {count} were split by {fractions}; use more data, or other fractions"
    )


def sizes(splits: Mapping[str, Sized]) -> str:
    """The number of examples of each split, for log lines: `80 train, 10 val, 10 test`."""
    return ", ".join(f"{len(examples)} {split}" for split, examples in splits.items())


def log_repetitions(
    name: str, splits: Mapping[str, Examples], what: str, answer: str, cause: str = "as published"
) -> None:
    """Log how many examples of each split are repetitions, in the split itself or of an earlier split; all stay.

    Args:
        name: name of the dataset.
        splits: the splits, the training split first.
        what: what the examples are, in the plural.
        answer: what is to be predicted for one, such as label; repetitions that have another one are counted apart.
        cause: why splits share examples.
    """
    first: dict[str, dict[Hashable, Hashable]] = {}  # split -> key -> the first answer
    for split, examples in splits.items():
        own: dict[Hashable, Hashable] = {}
        repeated = dict.fromkeys([split, *first], 0)
        differs = dict.fromkeys(repeated, 0)
        for key, given in zip(examples.keys, examples.answers, strict=True):
            for other, known in ((split, own), *first.items()):
                if key in known:
                    repeated[other] += 1
                    differs[other] += given != known[key]
            own.setdefault(key, given)
        first[split] = own
        for other, count in repeated.items():
            if count:
                those = f"{count} of {len(examples)} {split} {what}"
                where = "repeat another of the split" if other == split else f"are also in the {other} split, {cause}"
                apart = f"; {differs[other]} of these with another {answer}" if differs[other] else ""
                log.info("%s: %s %s%s", name, those, where, apart)
