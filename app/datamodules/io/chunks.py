"""Records to predict for, a chunk at a time, so that memory stays bounded however long a file is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

Chunk = TypeVar("Chunk")
Made = TypeVar("Made")
Item = TypeVar("Item")


class Chunks(Generic[Chunk]):
    """An iterable of chunks, for a single pass.

    Args:
        chunks: the chunks in order; they may be made one by one.
        total: number of records in all chunks together; None while they are still to come.
    """

    def __init__(self, chunks: Iterable[Chunk], total: int | None) -> None:
        self._chunks, self.total = chunks, total

    def __iter__(self) -> Iterator[Chunk]:
        return iter(self._chunks)

    def map(self, make: Callable[[Chunk], Made]) -> Chunks[Made]:
        """What `make` returns for each chunk, called when the chunk's turn has come."""
        return Chunks(map(make, self._chunks), self.total)

    def map_numbered(self, make: Callable[[Any, int], Made]) -> Chunks[Made]:
        """The same as `map` for a `make` that also takes the number of records before the chunk."""

        def made() -> Iterator[Made]:
            before = 0
            for chunk in self._chunks:
                yield make(chunk, before)
                before += len(chunk)  # type: ignore[arg-type]

        return Chunks(made(), self.total)


def chunked(items: Sequence[Item], size: int) -> Chunks[Sequence[Item]]:
    """A sequence in chunks of `size` items; the last one may be smaller."""
    return Chunks((items[begin : begin + size] for begin in range(0, len(items), size)), len(items))
