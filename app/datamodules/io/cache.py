"""Files that are written once, however many processes need them at the same time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from app.runs.atomic_write import atomic_write, report_write_errors


def make_once(path: Path, write: Callable[[Path], None], is_good: Callable[[Path], bool] = Path.is_file) -> Path:
    """Make `path` by `write(temporary path)`, unless it exists and is good; return it.

    The processes of a distributed run and the parallel runs of a study start together: one of them writes, under a
    file lock, the others wait and find the result. No one reads half a file, because it is moved into place.

    Args:
        path: the file to make; its folder is created, too.
        write: writes the file to a given path, or raises.
        is_good: whether the existing file may be used.

    Raises:
        InputError: if the folder cannot be written.
    """
    with report_write_errors(path):
        if is_good(path):  # before the lock: a finished cache may be read-only
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if not is_good(path):
                with atomic_write(path) as temporary:  # only the holder of the lock writes it
                    write(temporary)
    return path
