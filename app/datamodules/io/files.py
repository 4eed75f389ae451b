"""Files as bytes, text and lines, and the split that a file's name tells."""

from __future__ import annotations

import bz2
import gzip
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from app.errors import InputError

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "t10k": "test",  # MNIST's own name for its 10,000 test images
}
Found = TypeVar("Found")
_MOST_LINES = 128  # of standard input at a time
_UNPACK = {".gz": gzip.decompress, ".bz2": bz2.decompress}


def read_bytes(path: Path) -> bytes:
    """The whole file, unpacked where its name ends in .gz or .bz2.

    Raises:
        InputError: if it cannot be read or unpacked.
    """
    try:
        data = path.read_bytes()
    except IsADirectoryError as error:
        raise InputError(f"{path}: is a folder; give a file") from error
    except (OSError, ValueError) as error:  # the latter for a NUL in a name
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason}); give the path of a file that can") from error
    unpack = _UNPACK.get(path.suffix.lower())
    if unpack is None:
        return data
    try:
        return unpack(data)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{path}: cannot be unpacked as {path.suffix} ({error}); is it cut short?") from error


def decode(data: bytes, name: object, encoding: str = "utf-8", first_line: int = 1) -> str:
    """`data` as text, without a byte order mark.

    Args:
        data: the whole file, or whole lines of it.
        name: what errors call it.
        encoding: one of Python's, such as utf-8 or cp1252.
        first_line: number of the line that `data` begins with.

    Raises:
        InputError: naming the first line that does not decode.
    """
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data[: error.start].decode(encoding, "replace").count("\n") + first_line
        byte = f"byte 0x{data[error.start]:02x}"
        raise InputError(
            f"{name}:{line}: {byte} is not {encoding} ({error.reason}); save the file as utf-8, or give its encoding"
        ) from error
    except (LookupError, ValueError) as error:  # the latter for an encoding with a NUL, or one of text to text
        raise InputError(f"{name}: cannot be decoded as {encoding!r} ({error}); try utf-8 or cp1252") from error


def split_lines(text: str) -> list[str]:
    r"""Lines without their ends (\n or \r\n); an editor counts them the same way.

    `str.splitlines` would also cut at form feeds, U+0085 and U+2028, which occur inside sentences.
    """
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def lines_as_they_come(encoding: str = "utf-8") -> Iterator[list[str]]:
    """The lines of standard input: whenever there is something to read, all that are complete.

    So a person at a terminal gets an answer to each line; a redirected file comes in pieces of some hundred lines,
    enough to sort them by length.

    Args:
        encoding: one that extends ASCII, such as utf-8 or cp1252.

    Raises:
        InputError: naming the first line that does not decode.
    """
    begun, count = b"", 0  # the line whose end has not come yet; lines given so far
    while piece := sys.stdin.buffer.read1(1 << 16):
        whole, end, rest = (begun + piece).rpartition(b"\n")
        begun = rest
        if end:
            lines = split_lines(decode(whole + end, "standard input", encoding, count + 1))
            count += len(lines)
            yield from (lines[begin : begin + _MOST_LINES] for begin in range(0, len(lines), _MOST_LINES))
    if begun:
        yield split_lines(decode(begun, "standard input", encoding, count + 1))


def data_suffix(path: Path) -> str:
    """The ending that tells the format, in lower case: `.csv` for `reviews.CSV.gz`."""
    name = path.name.lower()
    for packed in _UNPACK:
        name = name.removesuffix(packed)
    return Path(name).suffix


def visible_files(folder: Path) -> list[Path]:
    """The files directly in `folder`, sorted by name, without hidden ones."""
    return sorted(entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith("."))


def split_of(path: Path) -> str | None:
    """train, val or test, where a word of the file's name says so (train, dev, valid, validation, val, test), or None.

    Raises:
        InputError: if its name says two different ones.
    """
    found = {SPLITS[word] for word in re.split(r"[^a-z0-9]+", path.name.lower()) if word in SPLITS}
    if len(found) > 1:
        raise InputError(f"{path}: the name says {' and '.join(sorted(found))}; rename the file so that it says one")
    return found.pop() if found else None


def by_split(files: Iterable[Path]) -> dict[str, Path]:
    """One file for each split, keyed train, val, test in this order, or `all` for a single one that names no split.

    Raises:
        InputError: if two files are of the same split, or some name a split and others do not.
    """
    found: dict[str, Path] = {}
    for file in files:
        split = split_of(file) or "all"
        if split in found:
            raise InputError(f"{file.parent}: {found[split].name} and {file.name} are both for {split}; {_ONE_EACH}")
        found[split] = file
    if "all" in found and len(found) > 1:
        names = ", ".join(file.name for file in found.values())
        raise InputError(f"{found['all'].parent}: of {names}, {found['all'].name} names no split; {_ONE_EACH}")
    return {split: found[split] for split in ("train", "val", "test", "all") if split in found}


def select_split(found: dict[str, Found], part: str, source: str) -> Found:
    """What a source that was named for one part (`data.val_source`) holds for it, whatever else it holds.

    Raises:
        InputError: if it holds several parts and not this one.
    """
    if part in found:
        return found[part]
    if len(found) == 1:
        return next(iter(found.values()))
    raise InputError(f"data.{part}_source {source}: holds {', '.join(found)} and no {part} part; name the one you mean")


_ONE_EACH = "give one file, or a folder with one file each for train, val (or dev) and test"
