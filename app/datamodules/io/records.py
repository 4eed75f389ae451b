"""Records: what the readers of texts return, examples that know where they were read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Self


class Records:
    """The base of dataclasses that hold the N examples of a split in columns: their lists, all of length N.

    Attributes:
        files: where each example was read: the path of a file, or the name of a hub split.
        lines: its line there, counted from 1; in parquet and hub datasets its row.
    """

    files: list[str]  # one string object per file: an example costs a pointer
    lines: list[int]

    def __post_init__(self) -> None:
        assert len({len(column) for column in self._columns().values()}) == 1

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, index: int) -> str:
        """`FILE:LINE` of an example, for the beginning of an error about it."""
        return f"{self.files[index]}:{self.lines[index]}"

    def __add__(self, other: Self) -> Self:
        """The examples of both."""
        others = other._columns()
        joined = {name: column + others[name] for name, column in self._columns().items()}
        return replace(self, **joined)  # type: ignore[type-var]

    def subset(self, indices: Iterable[int]) -> Self:
        """The examples at `indices`, in their order."""
        chosen = list(indices)
        columns = {name: [column[index] for index in chosen] for name, column in self._columns().items()}
        return replace(self, **columns)  # type: ignore[type-var]

    def _columns(self) -> dict[str, list]:
        return {name: value for name, value in vars(self).items() if isinstance(value, list)}
