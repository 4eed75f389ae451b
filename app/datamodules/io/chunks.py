"""Records to predict for, some at a time: what is made of a file at once is bounded, however long the file is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

Piece = TypeVar("Piece")
Made = TypeVar("Made")
Item = TypeVar("Item")


class Chunks(Generic[Piece]):
    """An iterable of pieces, to be gone through once.

    Args:
        pieces: in order; they may come into being one by one.
        total: records of all of them; None where they are still to come.
    """

    def __init__(self, pieces: Iterable[Piece], total: int | None) -> None:
        self._pieces = pieces
        self.total = total

    def __iter__(self) -> Iterator[Piece]:
        return iter(self._pieces)

    def map(self, make: Callable[[Piece], Made]) -> Chunks[Made]:
        """What is made of each piece, when its turn has come."""
        return Chunks(map(make, self._pieces), self.total)


def cut(items: Sequence[Item], size: int) -> Chunks[Sequence[Item]]:
    """A sequence in pieces of `size` items, the last one smaller."""
    return Chunks((items[begin : begin + size] for begin in range(0, len(items), size)), len(items))
