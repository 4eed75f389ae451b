"""Parts where a dataset has none: a seeded cut, the same for every run."""

from __future__ import annotations

from typing import Protocol, Self, TypeVar

import numpy as np

from app.errors import InputError


class Part(Protocol):
    """Examples that can be cut."""

    def __len__(self) -> int: ...

    def subset(self, indices: np.ndarray) -> Self:
        """The examples at `indices`."""


AnyPart = TypeVar("AnyPart", bound=Part)


def complete_splits(
    parts: dict[str, AnyPart], fractions: dict[str, float], seed: int, groups: np.ndarray | None = None
) -> dict[str, AnyPart]:
    """The parts train, val and test: as published where they were, else cut at random from `all` or `train`.

    Args:
        parts: what was read: `all`, or `train` with or without `val` and `test`.
        fractions: share of `val` and of `test`, used where they are missing.
        seed: of the cut.
        groups: (N,) group of each example of the part that is cut; whole groups are dealt out, by their number, so that
            examples of one group never stand in two parts. By default each example is a group of its own.

    Raises:
        InputError: if there is nothing to train on, a fraction is not between 0 and 1, or a part comes out empty.
    """
    source = "all" if "all" in parts else "train"
    if source not in parts:
        raise InputError(f"the source has {', '.join(parts)} but no training part; add one, or name it train")
    whole = parts[source]
    assert groups is None or len(groups) == len(whole)
    if seed < 0:
        raise InputError(f"data.split_seed is {seed}; allowed: whole numbers from 0")
    membership = np.arange(len(whole)) if groups is None else groups
    names = np.unique(membership)
    shuffled = names[np.random.default_rng(seed).permutation(len(names))]
    complete = {part: parts[part] for part in fractions if part in parts}
    begin = 0
    for part, fraction in fractions.items():
        if part in parts:
            continue
        if not 0 < fraction < 1:
            raise InputError(f"data.{part}_fraction is {fraction}; allowed: numbers above 0 and below 1")
        end = begin + round(fraction * len(names))
        complete[part] = whole.subset(np.flatnonzero(np.isin(membership, shuffled[begin:end])))
        begin = end
    complete["train"] = whole.subset(np.flatnonzero(np.isin(membership, shuffled[begin:]))) if begin else whole
    grouped = "" if groups is None else f" in {len(names)} groups"
    for part in ("train", "val", "test"):
        if len(complete[part]) == 0:
            raise InputError(
                f"the {part} part is empty: {len(whole)} examples{grouped} were cut by {fractions}; give more data, or "
                "other fractions"
            )
    return {part: complete[part] for part in ("train", "val", "test")}
