"""The faults of a file's lines, collected, so that one start names them all."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

from app.errors.input_error import InputError

_MAX_NAMED = 10


class LineFaults(AbstractContextManager["LineFaults"]):
    """Collects the InputErrors that are raised within `row()`, and raises one for all of them when it ends itself.

        with LineFaults(path) as faults:
            for line, record in enumerate(lines, start=1):
                with faults.row():
                    values.append(checked(record, f"{path}:{line}"))

    The first one's message comes whole, and after it in a second line where the others are: of the first ten also what
    is wrong there.

    Args:
        name: the file, with which the messages begin.
        what: what the errors are of.
    """

    def __init__(self, name: object, what: str = "line") -> None:
        self._name, self._what = f"{name}:", what
        self._named: list[InputError] = []
        self._count = 0
        self._row = _Row(self)

    def row(self) -> AbstractContextManager[None]:
        """A context in which an InputError is collected and not raised, for a single line."""
        return self._row

    def add(self, error: InputError) -> None:
        """Collect an error."""
        self._count += 1
        if len(self._named) < _MAX_NAMED:
            self._named.append(error)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Raise what was collected, with the error that ended the reading if there is one."""
        if error is not None and not isinstance(error, InputError):
            return
        if error is not None:
            self.add(error)
        if self._count == 1:
            raise self._named[0]
        if self._count:
            raise InputError(self._together()) from self._named[0]

    def _together(self) -> str:
        message = str(self._named[0])
        _, reason = self._parts(message)
        others = []
        for error in self._named[1:]:
            place, other = self._parts(str(error))
            others.append(f"{place} ({'the same' if other == reason else other})")
        more = self._count - len(self._named)
        rest = f" and {more} more" if more else ""
        plural = "s are" if self._count > 2 else " is"
        return f"{message}\n{self._count - 1} more {self._what}{plural} wrong: {', '.join(others)}{rest}"

    def _parts(self, message: str) -> tuple[str, str]:
        """The line in a message, and what is wrong there, without its remedy."""
        place, _, rest = message.removeprefix(self._name).partition(": ")
        return place, rest.partition(";")[0]


class _Row(AbstractContextManager[None]):
    def __init__(self, faults: LineFaults) -> None:
        self._faults = faults

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, InputError):
            return False
        self._faults.add(error)
        return True


def row_of(faults: LineFaults | None) -> AbstractContextManager[None]:
    """The context for a single line, in which an InputError is raised at once where there is no collection."""
    return nullcontext() if faults is None else faults.row()
