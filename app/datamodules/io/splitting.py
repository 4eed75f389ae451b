"""The splits train, val and test of any dataset: as published, from sources of their own, or chosen at random.

Decisions: equal examples stay in one of the splits that are chosen here; what published splits share stays, and is
counted in the log. Every choice is a function of `data.split_seed`, each by random numbers of its own.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Hashable, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import reduce
from operator import add
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

    def __add__(self, other: Self) -> Self:
        """These examples, followed by the others."""

    def subset(self, indices: np.ndarray) -> Self:
        """The examples at `indices`."""


AnyExamples = TypeVar("AnyExamples", bound=Examples)


@dataclass(frozen=True)
class SplitChoice:
    """What a datamodule's arguments say of how examples are chosen for splits.

    Args:
        fractions: fraction of `val` and of `test`, used where these are missing.
        seed: seeds every choice.
        folds: number of folds that all examples are cut into for cross-validation; None to have no folds.
        fold: the number of the one that is the test split, from 0.
        train_fraction: fraction of the training split that is trained on.

    Raises:
        InputError: for a number that is out of its range, and for a fold without folds.
    """

    fractions: dict[str, float]
    seed: int = 0
    folds: int | None = None
    fold: int = 0
    train_fraction: float = 1.0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"data.split_seed is {self.seed}; it must be >= 0")
        if self.folds is not None and self.folds < 2:
            raise InputError(f"data.folds is {self.folds}; it must be >= 2, or null to have no folds")
        if self.folds is None and self.fold:
            raise InputError(f"data.fold is {self.fold}, and data.folds is null; set data.folds to the number of folds")
        if self.folds is not None and not 0 <= self.fold < self.folds:
            raise InputError(f"data.fold is {self.fold} of data.folds {self.folds}; it must be 0 to {self.folds - 1}")
        if not 0 < self.train_fraction <= 1:
            raise InputError(f"data.train_fraction is {self.train_fraction}; it must be above 0 and at most 1")

    @property
    def departures(self) -> dict[str, str]:
        """What differs from the default and tells a run from others with the same seed, for `RunIdentity`."""
        chosen = {"split": str(self.seed)} if self.seed else {}
        if self.folds is not None:
            chosen["fold"] = f"{self.fold}of{self.folds}"
        if self.train_fraction < 1:
            chosen["train"] = str(self.train_fraction)
        return chosen


def refuse_folds_with_own_sources(choice: SplitChoice, own_sources: Mapping[str, str | None]) -> None:
    """Refuse a source of the test or validation split next to folds, which make these splits of all examples.

    Raises:
        InputError: naming the source, and what to set to null.
    """
    for split, own in own_sources.items():
        if own is not None and choice.folds is not None:
            raise InputError(
                f"data.{split}_source is {own}, but data.folds {choice.folds} makes the {split} split of all examples "
                "of data.source; set one of them to null"
            )


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


def choose_splits(
    name: str, found: dict[str, AnyExamples], choice: SplitChoice, classes: bool = False
) -> dict[str, AnyExamples]:
    """The splits train, val and test as `choice` has them.

    With folds, the examples of all splits that were found are pooled, equal ones stay in one fold, and the sizes of
    folds differ by as little as that allows; one fold is the test split, and the validation split is cut out of the
    others. So each example is in the test split of exactly one fold, unless its class has examples in this fold alone.

    A fraction of the training split is one of the distinct examples, in an order of its own: so the examples of a
    smaller fraction are among those of a larger one. Validation and test stay as they are.

    Args:
        name: name of the dataset, for the log.
        found: what was read: `all`, or `train` with or without `val` and `test`.
        choice: how splits are chosen.
        classes: whether answers are classes, each of which must be in the training split, also in a fraction of it.

    Raises:
        InputError: as `complete_splits` does; for more folds than distinct examples, and a fraction that is too small.
    """
    if choice.folds is not None:
        found = _take_fold(name, found, choice.folds, choice.fold, choice.seed, classes)
    splits = complete_splits(found, choice.fractions, choice.seed, classes)
    if choice.train_fraction < 1:
        train = splits["train"]
        splits["train"] = train.subset(_nested_fraction(train, choice.train_fraction, choice.seed, classes))
        log_fraction(name, splits["train"], train, "examples", choice)
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
    splits, count = {"train": whole, **found}, f"{len(whole)} examples"
    missing = {split: checked_fraction(fractions, split) for split in fractions if split not in found}
    if missing:
        distinct = _number_distinct(whole)
        number = len(np.unique(distinct))
        shuffled = np.random.default_rng(seed).permutation(number)
        chosen_for = np.zeros(number, dtype=np.int64)  # the place in SPLITS of each distinct example
        begin = 0
        for split, fraction in missing.items():
            end = begin + round(fraction * number)
            chosen_for[shuffled[begin:end]] = SPLITS.index(split)
            begin = end
        if classes and not chosen_for.all():  # an empty training split is refused below
            _return_lost_classes(whole.answers, distinct, chosen_for)
        for split in ("train", *missing):
            splits[split] = whole.subset(np.flatnonzero(chosen_for[distinct] == SPLITS.index(split)))
        count += f", {number} of them distinct," if number < len(whole) else ""
    for split in SPLITS:
        if len(splits[split]) == 0:
            raise empty_split("the source", split, count, fractions)
    return {split: splits[split] for split in SPLITS}


def _number_distinct(examples: Examples) -> np.ndarray:
    """(N,) int64, for each example the number of its distinct one, counted in the order in which these appear."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in examples.keys], dtype=np.int64)


def _take_fold(
    name: str, found: dict[str, AnyExamples], folds: int, fold: int, seed: int, classes: bool
) -> dict[str, AnyExamples]:
    """One fold of all examples as `test`, and the others as `train`."""
    whole = reduce(add, [found[split] for split in ("all", *SPLITS) if split in found])
    distinct = _number_distinct(whole)
    sizes = np.bincount(distinct)  # examples of each distinct one
    if len(sizes) < folds:
        raise InputError(f"data.folds is {folds}, but {name} has only {len(sizes)} distinct examples; lower it")
    is_tested = _folds(sizes, folds, seed) == fold
    if classes:
        _return_lost_classes(whole.answers, distinct, is_tested)
    tested = is_tested[distinct]
    counts = f"{tested.sum()} of all {len(whole)} examples"
    log.info("%s: data.fold %d of data.folds %d, counted from 0: the test split is %s", name, fold, folds, counts)
    return {"train": whole.subset(np.flatnonzero(~tested)), "test": whole.subset(np.flatnonzero(tested))}


def _folds(sizes: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """(G,) int64, the fold of each of G groups: in random order, large ones first, each into the smallest fold."""
    shuffled = np.random.default_rng([seed, 1]).permutation(len(sizes))
    smallest = [(0, fold) for fold in range(folds)]  # a heap of sizes
    fold_of = np.empty(len(sizes), dtype=np.int64)
    for group in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        size, fold_of[group] = smallest[0]
        heapq.heapreplace(smallest, (size + int(sizes[group]), int(fold_of[group])))
    return fold_of


def _nested_fraction(examples: Examples, fraction: float, seed: int, classes: bool) -> np.ndarray:
    """The indices of a fraction of the distinct examples, with their repetitions; one of each class comes first."""
    distinct = _number_distinct(examples)
    number = len(np.unique(distinct))
    order = np.random.default_rng([seed, 2]).permutation(number)
    rank = np.argsort(order)  # of each distinct example
    least, what = 1, "example"
    if classes:
        first_of: dict[Hashable, int] = {}
        answers = examples.answers
        for index in np.argsort(rank[distinct], kind="stable"):
            first_of.setdefault(answers[index], distinct[index])
        rank[list(first_of.values())] -= number
        least, what = len(set(first_of.values())), f"example of each of {len(first_of)} classes"
    kept = round(fraction * number)
    if kept < least:
        raise InputError(
            f"data.train_fraction is {fraction}, which leaves {kept} of {number} distinct training examples, and at "
            f"least one {what} is needed; raise it"
        )
    is_kept = np.zeros(number, dtype=bool)
    is_kept[np.argsort(rank)[:kept]] = True
    return np.flatnonzero(is_kept[distinct])


def log_fraction(name: str, kept: Sized, whole: Sized, what: str, choice: SplitChoice) -> None:
    """Log how much of the training split is trained on, where `data.train_fraction` reduces it."""
    counts = f"{len(kept)} of {len(whole)} {what}"
    log.info("%s: the training split is %s, as data.train_fraction is %s", name, counts, choice.train_fraction)


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
