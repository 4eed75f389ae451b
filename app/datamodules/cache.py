"""Write a file once, however many processes ask for it at the same moment."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from app.errors import InputError


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
    try:
        if is_good(path):  # before the lock: a finished cache may be read-only
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if not is_good(path):
                part = path.with_name(f".{path.name}.part")  # only the holder of the lock writes it
                try:
                    write(part)
                    os.replace(part, path)
                finally:
                    part.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error}); make room there or choose another folder") from error
    return path
