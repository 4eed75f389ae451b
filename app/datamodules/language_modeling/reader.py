"""Any file as bytes to model: mapped from disk, never copied as a whole, split in the order of the file.

Decisions: a packed file is unpacked once, into the cache, under the digest of the packed file. Every range of bytes
knows the byte before it, because that is the input from which its first byte is predicted: so every byte of a split is
predicted exactly once.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import platform
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from app.datamodules.io.cache import make_once
from app.datamodules.io.fetch import digest, fetch
from app.datamodules.io.files import by_split, visible_files
from app.datamodules.io.splitting import checked_fraction, empty_split, read_splits, training_source
from app.errors import InputError

NEWLINE = 10  # taken as the byte before the first one of a file
_CHUNK = 1 << 20  # bytes read at a time


@dataclass(frozen=True)
class ByteRange:
    """A contiguous range of the bytes of a file.

    Args:
        file: the file, not packed.
        begin: position of the first byte.
        end: position after the last byte.
        before: the byte before the first one.
    """

    file: Path
    begin: int
    end: int
    before: int = NEWLINE

    def __len__(self) -> int:
        return self.end - self.begin

    @cached_property
    def data(self) -> np.ndarray:
        """(N,) uint8, mapped and read-only."""
        return np.memmap(self.file, np.uint8, mode="r", offset=self.begin, shape=(len(self),))

    def __getstate__(self) -> dict[str, Any]:
        """Omit the mapped bytes, which would be copied when they are pickled for a loader process."""
        return {key: value for key, value in self.__dict__.items() if key != "data"}

    def slice(self, begin: int, end: int) -> ByteRange:
        """The range from `begin` up to `end`, counted from the first byte of this one."""
        before = int(self.data[begin - 1]) if begin else self.before
        return ByteRange(self.file, self.begin + begin, self.begin + min(end, len(self)), before)

    def inputs(self, begin: int, end: int) -> np.ndarray:
        """(end - begin,) uint8: for each byte from `begin` up to `end`, the byte before it."""
        if begin or begin == end:
            return self.data[max(begin - 1, 0) : max(end - 1, 0)]
        return np.concatenate([np.array([self.before], np.uint8), self.data[: end - 1]])

    def digest(self) -> str:
        """SHA-256 of the bytes and the one before them."""
        digested = hashlib.sha256(bytes([self.before]))
        digested.update(self.data)
        return digested.hexdigest()

    def compressed_bits(self) -> dict[str, float]:
        """The size of these bytes when compressed by `gzip -9` and by `bzip2 -9`, in bits per byte."""
        compressors = {"gzip": zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS), "bzip2": bz2.BZ2Compressor(9)}
        sizes = dict.fromkeys(compressors, 0)
        for name, compressor in compressors.items():
            for begin in range(0, len(self), _CHUNK):
                sizes[name] += len(compressor.compress(self.data[begin : begin + _CHUNK]))
            sizes[name] += len(compressor.flush())
        return {name: 8 * size / len(self) for name, size in sizes.items()}


def read_byte_splits(
    source: str, cache_dir: Path, *, own_sources: Mapping[str, str | None], fractions: dict[str, float]
) -> dict[str, ByteRange]:
    """The splits train, val and test: the files that are named so, and missing ones cut off the end of the rest.

    Args:
        source: what `fetch` takes, except hub datasets: a file, plain or packed as .gz, .bz2 or a .zip of one file, or
            a folder with one such file each for train, val and test; or module://pydoc_data.topics, the texts of
            Python's own help, which every machine has.
        cache_dir: folder for downloads and unpacked files.
        own_sources: see `read_splits`.
        fractions: fraction of `val` and of `test`, used where they are missing; the order is train, val, test.

    Raises:
        InputError: for a source that cannot be read, nothing to train on, a fraction that is not between 0 and 1, or an
            empty split.
    """
    files = read_splits(partial(_files, cache_dir=cache_dir), source, own_sources)
    rest = open_bytes(training_source(files, f"{source}:"), cache_dir)
    splits = {split: open_bytes(files[split], cache_dir) for split in ("val", "test") if split in files}
    size = len(rest)
    for split in ("test", "val"):  # from the end
        if split not in splits:
            end = len(rest) - round(checked_fraction(fractions, split) * size)
            if not 0 < end < len(rest):
                raise empty_split(source, split if end == len(rest) else "train", f"{size} bytes", fractions)
            rest, splits[split] = rest.slice(0, end), rest.slice(end, len(rest))
    return {"train": rest, "val": splits["val"], "test": splits["test"]}


def open_bytes(path: Path, cache_dir: Path) -> ByteRange:
    """The bytes of a file.

    Args:
        path: a file, which is unpacked once, in chunks, if its name ends in .gz, .bz2 or .zip.
        cache_dir: folder for unpacked files.

    Raises:
        InputError: for a file that does not exist, is empty, or cannot be read or unpacked, or a zip of several files.
    """
    plain = path
    try:
        if not path.is_file():
            raise InputError(f"{path}: is {'a folder' if path.is_dir() else 'not a file'}; use one file of bytes")
        if path.suffix.lower() in _UNPACK:
            plain = make_once(cache_dir / "bytes" / f"{digest(path)}.bin", lambda target: _unpack(path, target))
        with plain.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if size == 0:
        raise InputError(f"{path}: is empty; use a file with content")
    return ByteRange(plain, 0, size)


def _files(source: str, cache_dir: Path) -> dict[str, Path]:
    """The file of each split in a source, or of `all`."""
    scheme, mark, rest = source.partition("://")
    if mark and scheme == "module":
        return {"all": _module_text(source, rest, cache_dir)}
    path = None if mark and scheme == "hub" else fetch(source, cache_dir=cache_dir)
    if not isinstance(path, Path):
        raise InputError(
            f"source {source!r}: a hub dataset is not a file of bytes; use a file, a folder, https:// or pypi://"
        )
    if not path.is_dir():
        return {"all": path}
    files = by_split(visible_files(path))
    if not files:
        raise InputError(f"{path}: has no file; it must have one, or one each for train, val (or dev) and test")
    return files


def _module_text(source: str, name: str, cache_dir: Path) -> Path:
    if name not in _MODULE_TEXTS:
        allowed = ", ".join(f"module://{module}" for module in _MODULE_TEXTS)
        raise InputError(f"source {source!r}: the text of this module cannot be read; allowed: {allowed}")
    path = cache_dir / "bytes" / f"{name}-{platform.python_version()}.txt"  # another Python has another text
    return make_once(path, lambda target: target.write_bytes(_MODULE_TEXTS[name]().encode()))


def _python_topics() -> str:
    from pydoc_data.topics import topics  # here, because few runs need its half a megabyte of text

    return "\n\n".join(text for _, text in sorted(topics.items()))


_MODULE_TEXTS: dict[str, Callable[[], str]] = {"pydoc_data.topics": _python_topics}


def _unpack(path: Path, target: Path) -> None:
    with target.open("wb") as stream:
        for chunk in _unpacked(path):
            stream.write(chunk)
    if target.stat().st_size == 0:
        raise InputError(f"{path}: is empty; use a file with content")


def _unpacked(path: Path) -> Iterator[bytes]:
    """The content in chunks; only errors of the packed file are reported as such, not those of the file written."""
    suffix = path.suffix.lower()
    try:
        with _UNPACK[suffix](path) as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk
    except InputError:
        raise
    # zipfile raises RuntimeError for a password and NotImplementedError for an unknown method
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{path}: cannot be unpacked as {suffix} ({error}); is it cut short?") from error


@contextmanager
def _only_member(path: Path) -> Iterator[IO[bytes]]:
    """The one file in a zip; its name there is never used as a path."""
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) != 1:
            raise InputError(f"{path}: has {len(members)} files; use a zip of one file, or unpack it")
        with archive.open(members[0]) as stream:
            yield stream


_UNPACK: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".zip": _only_member}
