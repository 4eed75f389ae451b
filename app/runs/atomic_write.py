"""Files that appear whole or not at all, and what is said where one cannot be written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.errors import InputError
from app.errors.system_errors import cannot_write


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A place beside `path` to write to; when the block ends well, what was written is renamed to `path`.

    If it does not, nothing is left, and a file that stood at `path` before stays as it was.

    Raises:
        InputError: if it cannot be written, naming `path`.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with report_write_errors(path):
            yield part
            os.replace(part, path)
    finally:
        with suppress(OSError):  # not there, or on what can no longer be written
            part.unlink()


@contextmanager
def report_write_errors(path: Path) -> Iterator[None]:
    """Answer what the operating system refuses while the block writes `path`.

    Raises:
        InputError: naming the file, what is wrong and what to do.
    """
    try:
        yield
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        # torch.save goes on after a failed write, and raises a RuntimeError at the end; loggers raise a ValueError
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise InputError(cannot_write(path, cause)) from error
