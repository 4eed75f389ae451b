"""Any file as bytes to learn and to score: mapped from disk, never copied whole, cut in the order of the file.

Decisions: what is packed is unpacked once, into the cache, under the digest of the packed file. Every part knows the
byte before its first one, because that byte is the input from which the first one is predicted: so every byte of a
part is predicted exactly once.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import platform
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np

from app.datamodules.io.cache import make_once
from app.datamodules.io.fetch import digest, fetch
from app.datamodules.io.files import by_split, select_split, visible_files
from app.errors import InputError

NEWLINE = 10  # stands before what nothing stands before
_PIECE = 1 << 20  # bytes read at a time


@dataclass(frozen=True)
class BytePart:
    """A contiguous piece of a file of plain bytes.

    Args:
        file: where they are.
        begin: position of the first one there.
        end: position behind the last one.
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
        """Without the mapped bytes: pickled for a loader process, they would be copied whole."""
        return {key: value for key, value in self.__dict__.items() if key != "data"}

    def slice(self, begin: int, end: int) -> BytePart:
        """The part from `begin` up to `end`, counted from this part's first byte."""
        before = int(self.data[begin - 1]) if begin else self.before
        return BytePart(self.file, self.begin + begin, self.begin + min(end, len(self)), before)

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
        """Bits per byte of what `gzip -9` and `bzip2 -9` make of these bytes."""
        compressors = {"gzip": zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS), "bzip2": bz2.BZ2Compressor(9)}
        sizes = dict.fromkeys(compressors, 0)
        for name, compressor in compressors.items():
            for begin in range(0, len(self), _PIECE):
                sizes[name] += len(compressor.compress(self.data[begin : begin + _PIECE]))
            sizes[name] += len(compressor.flush())
        return {name: 8 * size / len(self) for name, size in sizes.items()}


def read_byte_parts(
    source: str,
    cache_dir: Path,
    *,
    val_source: str | None = None,
    test_source: str | None = None,
    fractions: dict[str, float],
) -> dict[str, BytePart]:
    """The parts train, val and test: the files that are named so, and what is missing cut from the end of the rest.

    Args:
        source: what `source.fetch` takes, but no hub set: a file, plain or packed as .gz, .bz2 or a .zip of one file,
            or a folder with one such file each for train, val and test; or module://pydoc_data.topics, the texts of
            Python's own help, which every machine has.
        cache_dir: where downloads and unpacked files are kept.
        val_source: where the validation part is, if elsewhere: as source.
        test_source: where the test part is, if elsewhere: as source.
        fractions: share of `val` and of `test`, used where they are missing; train stands first, then val, then test.

    Raises:
        InputError: for a source that cannot be read, nothing to train on, a fraction that is not between 0 and 1, or a
            part that comes out empty.
    """
    files = _files(source, cache_dir)
    for part, other in (("val", val_source), ("test", test_source)):
        if other is not None:
            files[part] = select_split(_files(other, cache_dir), part, other)
    parts = {part: _whole(file, cache_dir) for part, file in files.items()}
    rest = parts.pop("all", None) or parts.pop("train", None)
    if rest is None:
        raise InputError(f"{source}: has {', '.join(parts)} but no training part; add one, or name it train")
    size = len(rest)
    for part in ("test", "val"):  # from the end
        if part in parts:
            continue
        fraction = fractions[part]
        if not 0 < fraction < 1:
            raise InputError(f"data.{part}_fraction is {fraction}; allowed: numbers above 0 and below 1")
        cut = len(rest) - round(fraction * size)
        if not 0 < cut < len(rest):
            empty = part if cut == len(rest) else "train"
            raise InputError(
                f"{source}: the {empty} part is empty: {size} bytes were cut by {fractions}; give more data, or other "
                "fractions"
            )
        rest, parts[part] = rest.slice(0, cut), rest.slice(cut, len(rest))
    return {"train": rest, "val": parts["val"], "test": parts["test"]}


def open_bytes(path: Path, cache_dir: Path) -> np.ndarray:
    """The content of a file as a read-only memmap of uint8.

    Args:
        path: mapped as it is, unless its name ends in .gz, .bz2 or .zip: then it is unpacked once, in pieces.
        cache_dir: where unpacked files are kept.

    Raises:
        InputError: for what is no file, holds no byte, cannot be read or unpacked, or a zip that holds not one file.
    """
    plain = path
    try:
        if not path.is_file():
            raise InputError(f"{path}: is {'a folder' if path.is_dir() else 'no file'}; give one file of bytes")
        if path.suffix.lower() in _UNPACK:
            plain = make_once(cache_dir / "bytes" / f"{digest(path)}.bin", lambda part: _unpack(path, part))
        if plain.stat().st_size == 0:
            raise InputError(f"{path}: holds no byte; give a file that does")
        return np.memmap(plain, np.uint8, mode="r")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _files(source: str, cache_dir: Path) -> dict[str, Path]:
    """The one file of each part that a source names, or of `all`."""
    scheme, mark, rest = source.partition("://")
    if mark and scheme == "module":
        return {"all": _module_text(source, rest, cache_dir)}
    if mark and scheme == "hub":
        raise InputError(
            f"source {source!r}: a hub set is no file of bytes; give a file, a folder, https:// or pypi://"
        )
    path = fetch(source, cache_dir=cache_dir)
    assert isinstance(path, Path), path  # only the hub gives anything else
    if not path.is_dir():
        return {"all": path}
    files = by_split(visible_files(path))
    if not files:
        raise InputError(f"{path}: holds no file; give one, or one each for train, val (or dev) and test")
    return files


def _whole(file: Path, cache_dir: Path) -> BytePart:
    mapped = open_bytes(file, cache_dir)
    assert isinstance(mapped, np.memmap), type(mapped)
    return BytePart(Path(mapped.filename), 0, len(mapped))


def _module_text(source: str, name: str, cache_dir: Path) -> Path:
    if name not in _MODULE_TEXTS:
        allowed = ", ".join(f"module://{module}" for module in _MODULE_TEXTS)
        raise InputError(f"source {source!r}: no module is read for its text but those allowed: {allowed}")
    path = cache_dir / "bytes" / f"{name}-{platform.python_version()}.txt"  # another Python has another text
    return make_once(path, lambda part: part.write_bytes(_MODULE_TEXTS[name]().encode()))


def _python_topics() -> str:
    from pydoc_data.topics import topics  # here, because hardly anybody asks for half a megabyte of text

    return "\n\n".join(text for _, text in sorted(topics.items()))


_MODULE_TEXTS: dict[str, Callable[[], str]] = {"pydoc_data.topics": _python_topics}


def _unpack(path: Path, part: Path) -> None:
    size = 0
    with part.open("wb") as stream:
        for piece in _unpacked_pieces(path):
            size += stream.write(piece)
    if size == 0:
        raise InputError(f"{path}: holds no byte; give a file that does")


def _unpacked_pieces(path: Path) -> Iterator[bytes]:
    """The content in order; only faults of the packed file become errors about it, not those of the one written."""
    suffix = path.suffix.lower()
    try:
        with _UNPACK[suffix](path) as stream:
            while piece := stream.read(_PIECE):
                yield piece
    except InputError:
        raise
    # zipfile raises RuntimeError for a password, NotImplementedError for a method that it does not know
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{path}: cannot be unpacked as {suffix} ({error}); is it cut short?") from error


@contextmanager
def _only_member(path: Path) -> Iterator[IO[bytes]]:
    """The one file in a zip; its name there is never used as a path."""
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) != 1:
            raise InputError(f"{path}: holds {len(members)} files; give a zip of one file, or unpack it")
        with archive.open(members[0]) as stream:
            yield stream


_UNPACK: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".zip": _only_member}
