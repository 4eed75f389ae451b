"""Pictures, such as .png and .jpg files, as arrays of bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.datamodules.io.files import SPLIT_WORDS
from app.errors import InputError, LineFaults

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def picture_files(folder: Path) -> list[Path]:
    """The pictures in a folder and the folders in it, sorted, without hidden ones."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def by_class(folder: Path, files: Iterable[Path]) -> dict[str, tuple[list[Path], list[str]]]:
    """Pictures and their classes, by split: CLASS/x.png for what is not split, or SPLIT/CLASS/x.png.

    Raises:
        InputError: for a picture that is elsewhere.
    """
    splits: dict[str, tuple[list[Path], list[str]]] = {}
    for file in files:
        *outer, label = file.relative_to(folder).parts[:-1]
        split = SPLIT_WORDS.get(outer[0].lower()) if len(outer) == 1 else "all"
        if split is None or len(outer) > 1 or (not outer and label.lower() in SPLIT_WORDS):
            raise InputError(
                f"{file}: must be in a folder that is named as its class, in {folder} or in a folder of it named "
                "train, val (or dev) or test"
            )
        paths, labels = splits.setdefault(split, ([], []))
        paths.append(file)
        labels.append(label)
    if "all" in splits and len(splits) > 1:
        raise InputError(f"{folder}: has folders of classes next to train, val or test; use one of the two")
    return splits


def read_pictures(files: Sequence[Path], shape: Sequence[int] | None = None) -> np.ndarray:
    """The pixels of pictures; see `stack_pictures`."""
    from PIL import Image  # here, because few runs need it

    return stack_pictures(len(files), ((str(file), lambda file=file: Image.open(file)) for file in files), shape)


def stack_pictures(count: int, pictures: Iterable[tuple[str, Any]], shape: Sequence[int] | None = None) -> np.ndarray:
    """The pixels of pictures, (N, H, W) uint8 in grey or (N, H, W, C) in colour.

    Args:
        count: their number, N.
        pictures: the place of each in errors, and a function that returns it as an image of PIL.
        shape: (H, W) or (H, W, C) that they must have; by default that of the first one.

    Raises:
        InputError: for one that cannot be read, is not grey or RGB with 8 bits, or has another shape.
    """
    assert count
    pixels: np.ndarray | None = None
    with LineFaults("", "picture") as faults:
        for index, (place, read) in enumerate(pictures):
            with faults.row():
                array = _array(place, read)
                if pixels is None:
                    wanted = array.shape if shape is None else tuple(shape)
                    pixels = np.empty((count, *wanted), np.uint8)
                if array.shape != pixels.shape[1:]:
                    which = "the first one" if shape is None else "those of the training split"
                    shapes = f"the image is {array.shape}, {which} {pixels.shape[1:]}"
                    raise InputError(f"{place}: {shapes}; all must have the same shape")
                pixels[index] = array
    assert pixels is not None
    return pixels


def _array(place: str, read: Any) -> np.ndarray:
    try:
        image = read()
        mode = getattr(image, "mode", None)
        array = np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:  # what PIL raises for a broken image
        raise InputError(f"{place}: invalid image ({error}); correct or delete it") from error
    if mode not in ("L", "RGB"):
        found = f"an image of mode {mode}" if mode else "not an image"
        raise InputError(f"{place}: {found}; allowed: grey (L) and RGB with 8 bits")
    return array
