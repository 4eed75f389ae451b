"""Images with one class each: idx files, csv of pixels, .npz archives, pictures in folders, and datasets of the hub.

Decisions: pixels stay the bytes that were published, so a split is one uint8 array; sizes that a file announces are
checked against its content; an invalid row is an error that names it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.datamodules.image_classification.arrays import read_idx, read_npz
from app.datamodules.image_classification.pictures import (
    PICTURES,
    by_class,
    picture_files,
    read_pictures,
    stack_pictures,
)
from app.datamodules.image_classification.pixel_table import ANY_TABLE, PixelTable
from app.datamodules.io.chunks import Chunks, chunked
from app.datamodules.io.files import by_split, data_suffix, lines_as_they_come, one_layout, read_lines, visible_files
from app.datamodules.io.hub import labelled_splits
from app.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

_IDX_NAME = re.compile(r"(^|[^a-z])(images|labels)[.-]idx\d-ubyte(\.gz|\.bz2)?$", re.IGNORECASE)
_ALLOWED = (
    "idx files (train-images-idx3-ubyte next to train-labels-idx1-ubyte, t10k-...), csv, npz, or a folder of pictures "
    "for each class"
)


@dataclass(frozen=True)
class LabelledImages:
    """N images of one split, in the order of the file.

    Args:
        pixels: uint8, (N, H, W) in grey or (N, H, W, C) in colour; 0 to 255 as published.
        labels: the class of each image, as text.
        files: where each was read: the path of a file, or the name of a hub split; one string object for all of it.
        rows: (N,), the number of each image there, counted from 1; in a csv its line; of a picture the path.
    """

    pixels: np.ndarray
    labels: list[str]
    files: list[str]
    rows: np.ndarray

    def __post_init__(self) -> None:
        assert self.pixels.dtype == np.uint8 and self.pixels.ndim in (3, 4), (self.pixels.dtype, self.pixels.shape)
        counts = {len(column) for column in (self.pixels, self.labels, self.files, self.rows)}
        assert len(counts) == 1, counts

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
        return f"{self.files[index]}:{self.rows[index]}"

    def __add__(self, other: LabelledImages) -> LabelledImages:
        """The images of both, which have one shape."""
        pixels, rows = (np.concatenate(pair) for pair in ((self.pixels, other.pixels), (self.rows, other.rows)))
        return LabelledImages(pixels, self.labels + other.labels, self.files + other.files, rows)

    def subset(self, indices: np.ndarray) -> LabelledImages:
        """The images at `indices`, in their order."""
        labels, files = ([column[index] for index in indices] for column in (self.labels, self.files))
        return LabelledImages(self.pixels[indices], labels, files, self.rows[indices])


def read_labelled_images(
    source: Path | DatasetDict,
    *,
    image_column: str = "image",
    label_column: str = "label",
    table: PixelTable = ANY_TABLE,
) -> dict[str, LabelledImages]:
    """All images, by split.

    The layouts are a folder of idx files; as a file or as a folder with one file per split, csv and .npz archives (see
    `arrays.read_npz`), one of which may have all splits; a folder of pictures, CLASS/x.png or SPLIT/CLASS/x.png; and
    hub datasets.

    Args:
        source: a file, a folder, or a loaded hub dataset.
        image_column: column of the images in a hub dataset.
        label_column: column of the class there; its own class names are used.
        table: how a csv is written.

    Returns:
        `train`, `val`, `test`, if names of files, folders or splits say so, or `all` where nothing is split; without
        hub splits that have no labels. All images have one shape.

    Raises:
        InputError: for an unknown layout, a truncated file, an invalid row, or images of several shapes.
    """
    if not isinstance(source, Path):
        splits = {
            split: _labelled(_hub_pixels(rows, image_column, place), labels, place)
            for split, place, rows, labels in labelled_splits(source, image_column, label_column)
        }
    else:
        splits = _read_path(source, table)
    shapes = {split: images.pixels.shape[1:] for split, images in splits.items()}
    if len(set(shapes.values())) > 1:
        raise InputError(f"{source}: images have different shapes ({shapes}); all must have the same")
    return splits


def _read_path(source: Path, table: PixelTable) -> dict[str, LabelledImages]:
    files = visible_files(source) if source.is_dir() else [source]
    layouts = {
        "csv": [file for file in files if data_suffix(file) == ".csv"],
        "npz": [file for file in files if file.suffix.lower() == ".npz"],
        "idx": [file for file in files if _IDX_NAME.search(file.name)],
    }
    if source.is_dir() and not any(layouts.values()):  # a picture next to other files only shows what they hold
        layouts["pictures"] = [file for file in picture_files(source) if file.parent != source]
    layout, files = one_layout(source, layouts, "image data", _ALLOWED)
    if layout == "csv":
        return {split: _read_csv(file, table) for split, file in by_split(files).items()}
    if layout == "npz":
        return _read_npz_files(files)
    if layout == "pictures":
        splits = {}
        for split, (paths, labels) in by_class(source, files).items():
            names = np.array([str(path.relative_to(source)) for path in paths])
            splits[split] = LabelledImages(read_pictures(paths), labels, [str(source)] * len(labels), names)
        return splits
    if not source.is_dir():
        raise InputError(f"{source}: images and labels are two files; use the folder that has both")
    return _read_idx_pairs(source, files)


def images_to_predict(source: str, table: PixelTable, chunk_size: int) -> Chunks[np.ndarray]:
    """The images to predict a class for.

    Args:
        source: what `read_images` takes, or - for standard input: a csv, whose lines come in chunks, as they arrive.
        table: how a csv is written; all images must have its shape.
        chunk_size: number of images of a chunk.

    Raises:
        InputError: as `read_images` does; for a line of standard input, when its chunk comes.
    """
    if source != "-":
        return chunked(read_images(source, table), chunk_size)
    return Chunks(_images_as_they_come(table), None)


def _images_as_they_come(table: PixelTable) -> Iterator[np.ndarray]:
    name, line, place = "standard input", 1, None
    for lines in lines_as_they_come():
        if line == 1:
            place = table.label_place_to_predict(lines[0])
        rows = lines[1:] if line == 1 and table.header else lines
        if rows:
            yield table.read_unlabelled(name, rows, line + len(lines) - len(rows), place)
        line += len(lines)
    if line <= 1 + table.header:
        raise InputError(f"{name}: is empty; each line must be an image")


def read_images(path: Path | str, table: PixelTable = ANY_TABLE) -> np.ndarray:
    """The images of a file or folder, without their labels.

    Args:
        path: an idx file of images, a csv, both also as .gz or .bz2; an .npz with one array of images; a picture, or a
            folder of pictures, in the order of their paths.
        table: how a csv is written (a label column is skipped); the images of any file must have its shape.

    Returns:
        uint8, (N, H, W) or (N, H, W, C), in the order of the file.

    Raises:
        InputError: for a file or row that cannot be read, or another shape.
    """
    path = Path(path)
    shape = table.image_shape
    if path.is_dir() or path.suffix.lower() in PICTURES:
        files = picture_files(path) if path.is_dir() else [path]
        if not files:
            raise InputError(f"{path}: is a folder without pictures ({', '.join(PICTURES)}); use one that has some")
        return read_pictures(files, shape)
    if data_suffix(path) == ".csv":
        lines = read_lines(path)
        place = table.label_place_to_predict(lines[0]) if lines else None
        return table.read_unlabelled(path, lines[table.header :], 1 + table.header, place)
    if path.suffix.lower() == ".npz":
        found = [arrays["images"] for arrays in read_npz(path).values() if "images" in arrays]
        if len(found) > 1:
            raise InputError(f"{path}: has images of {len(found)} splits; use a file with those to predict for")
        pixels = found[0]
    else:
        pixels = read_idx(path, dimensions=(3, 4))
    if shape is not None and pixels.shape[1:] != tuple(shape):
        raise InputError(f"{path}: images are {pixels.shape[1:]}, not {tuple(shape)}; use images of that shape")
    return pixels


def _labelled(pixels: np.ndarray, labels: list[str], origin: str, first: int = 1) -> LabelledImages:
    return LabelledImages(pixels, labels, [origin] * len(labels), np.arange(first, first + len(labels)))


def _read_csv(path: Path, table: PixelTable) -> LabelledImages:
    pixels, labels = table.read(path, read_lines(path))
    return _labelled(pixels, labels, str(path), 1 + table.header)


def _read_npz_files(files: list[Path]) -> dict[str, LabelledImages]:
    splits = {}
    for named, file in by_split(files).items():
        found = read_npz(file)
        if len(files) > 1 and len(found) > 1:
            raise InputError(f"{file}: has arrays for {', '.join(found)}; use it alone, or files of one split each")
        for split, arrays in found.items():
            if missing := {"images", "labels"} - arrays.keys():
                raise InputError(f"{file}: has no array of {missing.pop()} for {split}; add it")
            pixels, labels = arrays["images"], arrays["labels"]
            if labels.size != len(pixels) or labels.dtype.kind not in "iuU":
                found_here = f"the labels for {split} are {labels.shape} of {labels.dtype}"
                wanted = f"a whole number or a text for each of the {len(pixels)} images"
                raise InputError(f"{file}: {found_here}; there must be {wanted}")
            split = named if split == "all" else split
            splits[split] = _labelled(pixels, [str(label) for label in labels.ravel().tolist()], str(file))
    return splits


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
        pixels, classes = read_idx(images[split], dimensions=(3, 4)), read_idx(labels[split], dimensions=(1,))
        if len(pixels) != len(classes):
            counts = f"{images[split].name} has {len(pixels)} images, {labels[split].name} {len(classes)} labels"
            raise InputError(f"{folder}: {counts}; there must be one label per image")
        splits[split] = _labelled(pixels, [str(label) for label in classes.tolist()], str(images[split]))
    return splits


def _hub_pixels(rows: Dataset, column: str, place: str) -> np.ndarray:
    from datasets import Image  # here, because its import takes a second, and a loaded hub dataset has paid for it

    if not isinstance(rows.features[column], Image):
        raise InputError(f"{place}: column {column!r} is {rows.features[column]}, not images; name the image column")
    images = rows.select_columns([column])
    pictures = ((f"{place}:{row + 1}", lambda row=row: images[row][column]) for row in range(rows.num_rows))
    return stack_pictures(rows.num_rows, pictures)
