"""Write a file once, however many processes ask for it at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from app.runs.atomic_write import atomic_write, report_write_errors


def make_once(path: Path, write: Callable[[Path], None], is_good: Callable[[Path], bool] = Path.is_file) -> Path:
    """`path`, made by `write(temporary path)` unless a good one is there already.

    The processes of a distributed run and the parallel runs of a study start together: one of them writes, under a
    file lock, the others wait and find the result. Readers never see half a file, because it arrives by rename.

    Args:
        path: the file to make; its folder is made too.
        write: writes the file to the path that it is given, or raises.
        is_good: whether the file at `path` may be used as it is.

    Raises:
        InputError: if the folder cannot be written.
    """
    with report_write_errors(path):
        if is_good(path):  # before the lock: a finished cache may be read-only
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if not is_good(path):
                with atomic_write(path) as part:  # only the holder of the lock writes it
                    write(part)
    return path
