"""Images with one class each: MNIST's idx files, csv of pixels, and image datasets of the hub.

Decisions: pixels stay the bytes that were published, so a split is one uint8 array; sizes that a file announces are
checked against its content; an invalid row is an error that names it.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.datamodules.io.chunks import Chunks, chunked
from app.datamodules.io.files import by_split, data_suffix, lines_as_they_come, read_bytes, read_lines, visible_files
from app.datamodules.io.hub import labelled_splits
from app.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

_IDX_NAME = re.compile(r"(^|[^a-z])(images|labels)[.-]idx\d-ubyte(\.gz|\.bz2)?$", re.IGNORECASE)
_ALLOWED = "idx files (train-images-idx3-ubyte next to train-labels-idx1-ubyte, t10k-...) or csv without header"
_NO_LABEL = "; omit a label column here"
_PIXEL_CHARACTERS = frozenset("0123456789, ")


@dataclass(frozen=True)
class LabelledImages:
    """N images of one split, in the order of the file.

    Args:
        pixels: uint8, (N, H, W) in grey or (N, H, W, C) in colour; 0 to 255 as published.
        labels: the class of each image, as text.
        origin: where they were read: the path of a file, or the name of a hub split.
        rows: (N,), the number of each image there, counted from 1; in a csv its line.
    """

    pixels: np.ndarray
    labels: list[str]
    origin: str
    rows: np.ndarray

    def __post_init__(self) -> None:
        assert self.pixels.dtype == np.uint8 and self.pixels.ndim in (3, 4), (self.pixels.dtype, self.pixels.shape)
        assert len(self.pixels) == len(self.labels) == len(self.rows), (len(self.pixels), len(self.labels))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def keys(self) -> list[bytes]:
        """A digest of the bytes of each image."""
        return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in self.pixels]

    @property
    def answers(self) -> list[str]:
        """The classes."""
        return self.labels

    def where(self, index: int) -> str:
        """`FILE:ROW` of an image, for the beginning of an error about it."""
        return f"{self.origin}:{self.rows[index]}"

    def subset(self, indices: np.ndarray) -> LabelledImages:
        """The images at `indices`, in their order."""
        labels = [self.labels[index] for index in indices]
        return LabelledImages(self.pixels[indices], labels, self.origin, self.rows[indices])


def read_labelled_images(
    source: Path | DatasetDict,
    *,
    image_column: str = "image",
    label_column: str = "label",
    image_shape: Sequence[int] | None = None,
) -> dict[str, LabelledImages]:
    """All images, by split.

    Args:
        source: a folder with idx files; a csv file without header, or a folder with one per split, whose rows are the
            pixels of an image, row by row, followed by its label; a loaded hub dataset.
        image_column: column of the images in a hub dataset.
        label_column: column of the class there; its own class names are used.
        image_shape: (H, W) or (H, W, C) of the images in a csv; by default they are grey and square.

    Returns:
        `train`, `val`, `test`, if names of files or splits say so, or `all` where nothing is split; without hub splits
        that have no labels. All images have one shape.

    Raises:
        InputError: for an unknown layout, a truncated file, an invalid row, or images of several shapes.
    """
    if not isinstance(source, Path):
        splits = {
            split: _labelled(_hub_pixels(rows, image_column, place), labels, place)
            for split, place, rows, labels in labelled_splits(source, image_column, label_column)
        }
    else:
        files = visible_files(source) if source.is_dir() else [source]
        tables = [file for file in files if data_suffix(file) == ".csv"]
        arrays = [file for file in files if _IDX_NAME.search(file.name)]
        if tables and arrays:
            raise InputError(f"{source}: has idx and csv files; use a folder with one of the two")
        if not source.is_dir() and arrays:
            raise InputError(f"{source}: images and labels are two files; use the folder that has both")
        if not tables and not arrays:
            raise InputError(f"{source}: no image data; allowed: {_ALLOWED}")
        splits = {split: _read_csv(file, image_shape) for split, file in by_split(tables).items()}
        splits |= _read_idx_pairs(source, arrays)
    shapes = {split: images.pixels.shape[1:] for split, images in splits.items()}
    if len(set(shapes.values())) > 1:
        raise InputError(f"{source}: images have different shapes ({shapes}); all must have the same")
    return splits


def images_to_predict(source: str, image_shape: Sequence[int], chunk_size: int) -> Chunks[np.ndarray]:
    """The images to predict a class for.

    Args:
        source: what `read_images` takes, or - for standard input: a csv, whose lines come in chunks, as they arrive.
        image_shape: (H, W) or (H, W, C) that the images must have.
        chunk_size: number of images of a chunk.

    Raises:
        InputError: as `read_images` does; for a line of standard input, when its chunk comes.
    """
    if source != "-":
        return chunked(read_images(source, image_shape=image_shape), chunk_size)
    return Chunks(_images_as_they_come(image_shape), None)


def _images_as_they_come(image_shape: Sequence[int]) -> Iterator[np.ndarray]:
    name, first = "standard input", 1
    for lines in lines_as_they_come():
        yield _pixel_rows(name, lines, image_shape, _NO_LABEL, first)
        first += len(lines)
    if first == 1:
        raise InputError(f"{name}: is empty; each line must be an image")


def read_images(path: Path | str, *, image_shape: Sequence[int] | None = None) -> np.ndarray:
    """The images of an idx file or a csv without labels.

    Args:
        path: an idx file of images, or a csv without header and labels; also as .gz or .bz2.
        image_shape: (H, W) or (H, W, C) that the images must have; by default those of a csv are grey and square.

    Returns:
        uint8, (N, H, W) or (N, H, W, C), in the order of the file.

    Raises:
        InputError: for a file or row that cannot be read, or another shape.
    """
    path = Path(path)
    if data_suffix(path) == ".csv":
        return _pixel_rows(path, read_lines(path), image_shape, _NO_LABEL)
    pixels = _read_idx(path, dimensions=(3, 4))
    if image_shape is not None and pixels.shape[1:] != tuple(image_shape):
        raise InputError(f"{path}: images are {pixels.shape[1:]}, not {tuple(image_shape)}; use images of that shape")
    return pixels


def _read_csv(path: Path, image_shape: Sequence[int] | None) -> LabelledImages:
    rows, labels = [], []
    for line, record in enumerate(read_lines(path), start=1):
        pixels, comma, label = record.rpartition(",")
        if not comma or not label.strip():
            found = f"ends with {record[-20:]!r}" if record.strip() else "is an empty line"
            raise InputError(f"{path}:{line}: {found}; each line must be the pixels of an image and its label")
        rows.append(pixels)
        labels.append(label.strip())
    return _labelled(_pixel_rows(path, rows, image_shape, note=" and a label"), labels, str(path))


def _labelled(pixels: np.ndarray, labels: list[str], origin: str) -> LabelledImages:
    return LabelledImages(pixels, labels, origin, np.arange(1, len(labels) + 1))


def _pixel_rows(
    path: Path | str, lines: list[str], image_shape: Sequence[int] | None, note: str, first: int = 1
) -> np.ndarray:
    """(N, H, W) or (N, H, W, C) from lines of H * W * C numbers each.

    Args:
        path: name of the file in errors.
        lines: the lines without labels.
        image_shape: (H, W) or (H, W, C) that the images must have; by default they are grey and square.
        note: addition to an error about the count of numbers.
        first: number of the first line in its file.
    """
    if not lines:
        raise InputError(f"{path}: is empty; each line must be an image")
    count = lines[0].count(",") + 1
    side = math.isqrt(count)
    shape = tuple(image_shape) if image_shape is not None else (side, side)
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise InputError(f"data.image_shape is {list(shape)}; it must be height and width, perhaps channels, each >= 1")
    if math.prod(shape) != count:
        wanted = f"{shape}, {math.prod(shape)}" if image_shape is not None else "a square number of"
        raise InputError(f"{path}:{first}: {count} pixels where an image has {wanted} pixels{note}; set image_shape")
    pixels = np.empty((len(lines), count), np.uint8)
    for line, record in enumerate(lines, start=first):
        fields = record.split(",")
        if len(fields) != count:
            raise InputError(f"{path}:{line}: {len(fields)} pixels where the first line has {count}; correct this line")
        try:
            if not _PIXEL_CHARACTERS.issuperset(record):  # int() takes 1_0 and other alphabets' digits too
                raise ValueError
            pixels[line - first] = np.frombuffer(bytes(map(int, fields)), np.uint8)  # bytes() refuses numbers over 255
        except ValueError as error:
            bad = next(place for place, field in enumerate(fields) if not _is_pixel(field))
            message = f"{path}:{line}: pixel {bad + 1} is {fields[bad][:20]!r}; allowed: 0 to 255, and no header"
            raise InputError(message) from error
    return pixels.reshape(len(lines), *shape)


def _is_pixel(field: str) -> bool:
    return re.fullmatch(" *[0-9]{1,3} *", field) is not None and int(field) <= 255


def _read_idx_pairs(folder: Path, files: list[Path]) -> dict[str, LabelledImages]:
    kinds: dict[str, list[Path]] = {"images": [], "labels": []}
    for file in files:
        match = _IDX_NAME.search(file.name)
        assert match
        kinds[match[2].lower()].append(file)
    images, labels = by_split(kinds["images"]), by_split(kinds["labels"])
    for split in images.keys() ^ labels.keys():
        alone = (images.get(split) or labels[split]).name
        raise InputError(f"{folder}: {alone} has no partner; images and labels of a split must be two files")
    splits = {}
    for split in images:
        pixels, classes = _read_idx(images[split], dimensions=(3, 4)), _read_idx(labels[split], dimensions=(1,))
        if len(pixels) != len(classes):
            counts = f"{images[split].name} has {len(pixels)} images, {labels[split].name} {len(classes)} labels"
            raise InputError(f"{folder}: {counts}; there must be one label per image")
        splits[split] = _labelled(pixels, [str(label) for label in classes.tolist()], str(images[split]))
    return splits


def _read_idx(path: Path, dimensions: tuple[int, ...]) -> np.ndarray:
    """The uint8 array of an idx file: bytes 0, 0, 8 (for uint8), number of dimensions; the sizes; the values."""
    data = read_bytes(path)
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        begin = data[:4].hex(" ") or "nothing"
        raise InputError(f"{path}: begins with {begin}, not 00 00 08: not an idx file of bytes; fetch it again")
    if data[3] not in dimensions:
        wanted = " or ".join(map(str, dimensions))
        raise InputError(f"{path}: has {data[3]} dimensions, not {wanted}; are images and labels swapped?")
    header = 4 + 4 * data[3]
    shape = tuple(int.from_bytes(data[start : start + 4], "big") for start in range(4, header, 4))
    if len(data) != header + math.prod(shape):
        announced = f"announces {shape}, {header + math.prod(shape)} bytes with its header"
        raise InputError(f"{path}: {announced}, but has {len(data)} bytes; fetch it again")
    if 0 in shape:
        raise InputError(f"{path}: announces {shape}, which is empty; use a file with data")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy()  # writable, as torch wants it


def _hub_pixels(rows: Dataset, column: str, place: str) -> np.ndarray:
    from datasets import Image  # here, because its import takes a second, and a loaded hub dataset has paid for it

    if not isinstance(rows.features[column], Image):
        raise InputError(f"{place}: column {column!r} is {rows.features[column]}, not images; name the image column")
    images = rows.select_columns([column])
    pixels: np.ndarray | None = None
    for index in range(rows.num_rows):
        try:
            image = images[index][column]
            mode = getattr(image, "mode", None)
            array = np.asarray(image)
        except (OSError, SyntaxError, ValueError) as error:  # what PIL raises for a broken image
            raise InputError(f"{place}:{index + 1}: invalid image ({error}); correct or delete this row") from error
        if mode not in ("L", "RGB"):
            found = f"an image of mode {mode}" if mode else "not an image"
            raise InputError(f"{place}:{index + 1}: {found}; allowed: grey (L) and RGB with 8 bits")
        if pixels is None:
            pixels = np.empty((rows.num_rows, *array.shape), np.uint8)
        if array.shape != pixels.shape[1:]:
            shapes = f"the image is {array.shape}, the first one {pixels.shape[1:]}"
            raise InputError(f"{place}:{index + 1}: {shapes}; all must have the same shape")
        pixels[index] = array
    assert pixels is not None  # named_splits rejects an empty split
    return pixels
