"""The splits train, val and test of any dataset: as published, from sources of their own, or chosen at random."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, Self, TypeVar

import numpy as np

from app.errors import InputError

log = logging.getLogger(__name__)
SPLITS = ("train", "val", "test")
Found = TypeVar("Found")


class Examples(Protocol):
    """Examples that can be split."""

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
    found: dict[str, AnyExamples], fractions: dict[str, float], seed: int, groups: np.ndarray | None = None
) -> dict[str, AnyExamples]:
    """The splits train, val and test: as published, and where missing chosen at random from `all` or `train`.

    Args:
        found: what was read: `all`, or `train` with or without `val` and `test`.
        fractions: fraction of `val` and of `test`, used where they are missing.
        seed: seeds the choice.
        groups: (N,) group of each example of `all` or `train`; the examples of a group stay in one split, and fractions
            are of groups. By default each example is a group of its own.

    Raises:
        InputError: if there is nothing to train on, a fraction is not between 0 and 1, or a split is empty.
    """
    whole = training_source(found, "the source")
    assert groups is None or len(groups) == len(whole)
    if seed < 0:
        raise InputError(f"data.split_seed is {seed}; it must be >= 0")
    membership = np.arange(len(whole)) if groups is None else groups
    names = np.unique(membership)
    shuffled = names[np.random.default_rng(seed).permutation(len(names))]
    splits = dict(found)
    begin = 0
    for split in fractions:
        if split not in found:
            end = begin + round(checked_fraction(fractions, split) * len(names))
            splits[split] = whole.subset(np.flatnonzero(np.isin(membership, shuffled[begin:end])))
            begin = end
    splits["train"] = whole.subset(np.flatnonzero(np.isin(membership, shuffled[begin:]))) if begin else whole
    count = f"{len(whole)} examples" + ("" if groups is None else f" in {len(names)} groups")
    for split in SPLITS:
        if len(splits[split]) == 0:
            raise empty_split("the source", split, count, fractions)
    return {split: splits[split] for split in SPLITS}


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


def sizes(splits: Mapping[str, Examples]) -> str:
    """The number of examples of each split, for log lines: `80 train, 10 val, 10 test`."""
    return ", ".join(f"{len(examples)} {split}" for split, examples in splits.items())


def log_overlap(name: str, texts: Mapping[str, Sequence[str]], what: str) -> None:
    """Log how many texts of val and of test are in the training split, too; they stay as published."""
    trained_on = set(texts["train"])
    for split in ("val", "test"):
        common = sum(text in trained_on for text in texts[split])
        if common:
            log.info("%s: %d %s %s are also in the training split, as published", name, common, split, what)
