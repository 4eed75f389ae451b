"""Arrays of images and labels in files: MNIST's idx, and .npz archives of numpy."""

from __future__ import annotations

import io
import logging
import math
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np

from app.datamodules.io.files import SPLIT_WORDS, read_bytes
from app.errors import InputError

log = logging.getLogger(__name__)
_NPZ_KINDS = {
    **dict.fromkeys(("images", "image", "pixels", "data", "x"), "images"),
    **dict.fromkeys(("labels", "label", "targets", "target", "y"), "labels"),
}


def read_idx(path: Path, dimensions: tuple[int, ...]) -> np.ndarray:
    """The uint8 array of an idx file: bytes 0, 0, 8 (for uint8), number of dimensions; the sizes; the values.

    Raises:
        InputError: for another file, a truncated one, or another number of dimensions.
    """
    data = read_bytes(path)
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        begin = data[:4].hex(" ") or "nothing"
        raise InputError(
            f"{path}: begins with {begin}, not 00 00 08: not an idx file of bytes; fetch it again, "
            "or use csv, npz or pictures, by the ending of the name"
        )
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


def read_npz(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """The arrays `images` and `labels` of each split in an archive, or of `all` where their names say no split.

    A word of an array's name says what it is (images, x, data; labels, y, targets), another one the split: x_train,
    test_labels. Arrays of other names are skipped and logged.

    Raises:
        InputError: for another file, two arrays for the same, no images, or images that are not bytes.
    """
    splits: dict[str, dict[str, np.ndarray]] = {}
    try:
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, EOFError, ValueError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: not a valid .npz file ({reason}); write it again, by numpy.savez") from error
    for name, array in arrays.items():
        words = re.split(r"[^a-z0-9]+", name.lower())
        kind = next((_NPZ_KINDS[word] for word in words if word in _NPZ_KINDS), None)
        split = next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), "all")
        if kind is None:
            log.warning("%s: array %r is skipped: its name says neither images (x) nor labels (y)", path, name)
        elif kind in splits.setdefault(split, {}):
            raise InputError(f"{path}: array {name!r} is a second one of {kind} for {split}; remove one of them")
        elif kind == "images" and (array.dtype != np.uint8 or array.ndim not in (3, 4) or not array.size):
            found = f"array {name!r} is {array.shape} of {array.dtype}"
            raise InputError(f"{path}: {found}; it must be (N, H, W) or (N, H, W, C) of uint8, 0 to 255")
        else:
            splits[split][kind] = array
    if not any("images" in found for found in splits.values()):
        there = ", ".join(arrays) or "no arrays"
        raise InputError(f"{path}: has {there}, none of them images; name them images and labels, or x_train, y_train")
    return splits
