"""Files that appear whole or not at all, and the error about one that cannot be written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.errors import InputError
from app.errors.system_errors import cannot_write


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path next to `path`, which is renamed to `path` when the block succeeds.

    When it fails, nothing is left, and a former file at `path` stays as it was.

    Raises:
        InputError: naming `path`, if it cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with report_write_errors(path):
            yield part
            os.replace(part, path)
    finally:
        with suppress(OSError):  # not there, or on a disk that is no longer writable
            part.unlink()


@contextmanager
def report_write_errors(path: Path) -> Iterator[None]:
    """Turn an error of the operating system while the block writes `path` into an answer.

    Raises:
        InputError: naming the file, what is wrong and what to do.
    """
    try:
        yield
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        # torch.save continues after a failed write, and raises a RuntimeError at the end; loggers raise a ValueError
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        raise InputError(cannot_write(path, cause)) from error
