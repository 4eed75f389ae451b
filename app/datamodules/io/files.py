"""Files as bytes, text and lines, and which split a file is for, by its name."""

from __future__ import annotations

import bz2
import gzip
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from app.errors import InputError

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "t10k": "test",  # MNIST's own name for its 10,000 test images
}
_MAX_LINES = 128  # of standard input at a time
_UNPACK = {".gz": gzip.decompress, ".bz2": bz2.decompress}


def read_bytes(path: Path) -> bytes:
    """The content of a file, unpacked if its name ends in .gz or .bz2.

    Raises:
        InputError: if it cannot be read or unpacked.
    """
    try:
        data = path.read_bytes()
    except IsADirectoryError as error:
        raise InputError(f"{path}: is a folder; use the path of a file") from error
    except (OSError, ValueError) as error:  # the latter for a NUL in a name
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason}); use the path of a readable file") from error
    unpack = _UNPACK.get(path.suffix.lower())
    try:
        return data if unpack is None else unpack(data)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{path}: cannot be unpacked as {path.suffix} ({error}); is it cut short?") from error


def decode(data: bytes, name: object, encoding: str = "utf-8", first_line: int = 1) -> str:
    """`data` as text, without a byte order mark.

    Args:
        data: the whole file, or whole lines of it.
        name: name of the file in errors.
        encoding: a codec of Python, such as utf-8 or cp1252.
        first_line: number of the line that `data` begins with.

    Raises:
        InputError: for the first line that cannot be decoded.
    """
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data[: error.start].decode(encoding, "replace").count("\n") + first_line
        byte = f"byte 0x{data[error.start]:02x}"
        raise InputError(
            f"{name}:{line}: {byte} is not {encoding} ({error.reason}); save the file as utf-8, or set its encoding"
        ) from error
    except (LookupError, ValueError) as error:  # the latter for an encoding with a NUL, or one of text to text
        raise InputError(f"{name}: cannot be decoded as {encoding!r} ({error}); try utf-8 or cp1252") from error


def split_lines(text: str) -> list[str]:
    r"""Lines without their ends (\n or \r\n), counted as an editor counts them.

    `str.splitlines` would also split at form feeds, U+0085 and U+2028, which occur inside sentences.
    """
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def read_lines(path: Path, encoding: str | None = None) -> list[str]:
    """The lines of a text file, as `read_bytes`, `decode` (by default as utf-8) and `split_lines` give them."""
    return split_lines(decode(read_bytes(path), path, encoding or "utf-8"))


def lines_as_they_come(encoding: str = "utf-8") -> Iterator[list[str]]:
    """The lines of standard input: whenever there is something to read, all complete ones.

    So a user at a terminal gets an answer to each line; a redirected file comes in chunks of about a hundred lines,
    enough to sort them by length.

    Args:
        encoding: one that extends ASCII, such as utf-8 or cp1252.

    Raises:
        InputError: for the first line that cannot be decoded.
    """
    begun, count = b"", 0  # the line whose end has not come yet; number of lines so far
    while read := sys.stdin.buffer.read1(1 << 16):
        whole, end, rest = (begun + read).rpartition(b"\n")
        begun = rest
        if end:
            lines = split_lines(decode(whole + end, "standard input", encoding, count + 1))
            count += len(lines)
            yield from (lines[begin : begin + _MAX_LINES] for begin in range(0, len(lines), _MAX_LINES))
    if begun:
        yield split_lines(decode(begun, "standard input", encoding, count + 1))


def data_suffix(path: Path) -> str:
    """The suffix that names the format, in lower case: `.csv` for `reviews.CSV.gz`."""
    name = path.name.lower()
    for packed in _UNPACK:
        name = name.removesuffix(packed)
    return Path(name).suffix


def visible_files(folder: Path) -> list[Path]:
    """The files directly in `folder`, sorted by name, without hidden ones."""
    return sorted(entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith("."))


def split_of(path: Path) -> str | None:
    """train, val or test, if a word of the file's name says so (train, dev, valid, validation, val, test), or None.

    Raises:
        InputError: if its name says two different ones.
    """
    found = {SPLIT_WORDS[word] for word in re.split(r"[^a-z0-9]+", path.name.lower()) if word in SPLIT_WORDS}
    if len(found) > 1:
        raise InputError(f"{path}: the name says {' and '.join(sorted(found))}; rename the file so that it says one")
    return found.pop() if found else None


def by_split(files: Iterable[Path]) -> dict[str, Path]:
    """The file of each split, keyed train, val, test in this order, or `all` for a single file that names no split.

    Raises:
        InputError: if two files are for the same split, or some name a split and others do not.
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


def one_layout(source: Path, layouts: dict[str, list[Path]], kind: str, allowed: str) -> tuple[str, list[Path]]:
    """The one of several layouts that a source has files of, with these files.

    Args:
        source: a file or folder.
        layouts: the files that were found, by layout.
        kind: kind of the data, for errors.
        allowed: the layouts, in words.

    Raises:
        InputError: if it has files of no layout, or of several.
    """
    present = {layout: files for layout, files in layouts.items() if files}
    if not present:
        names = ", ".join(sorted(entry.name for entry in source.iterdir())[:8]) if source.is_dir() else ""
        raise InputError(f"{source}: no {kind}{f' among {names}' if names else ''}; allowed: {allowed}")
    if len(present) > 1:
        names = ", ".join(file.name for files in present.values() for file in files)
        raise InputError(f"{source}: {names} are of different layouts; use one file, or a folder with one layout")
    return present.popitem()


_ONE_EACH = "use one file, or a folder with one file each for train, val (or dev) and test"
