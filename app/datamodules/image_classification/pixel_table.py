"""Images in a csv file: a row of pixels each, with or without a label."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.datamodules.io.tables import missing_column
from app.errors import InputError, LineFaults

DEFAULT_LABEL = "label"
_PIXEL_CHARACTERS = frozenset("0123456789, ")


@dataclass(frozen=True)
class PixelTable:
    """How a csv of pixels is written.

    Args:
        image_shape: (H, W) or (H, W, C) that the images must have; by default they are grey and square.
        label_column: column of the label: its name in the header, or without a header its number, counted from 1, by
            default the last.
        header: whether the first line of a file names the columns.
    """

    image_shape: Sequence[int] | None = None
    label_column: str = DEFAULT_LABEL
    header: bool = False

    def read(self, path: object, lines: list[str]) -> tuple[np.ndarray, list[str]]:
        """The images of N lines, the header not counted, and their labels.

        Raises:
            InputError: for a line that is not the pixels of an image and a label, and if the label seems to be in the
                first column where the last one is read.
        """
        first = 1 + self.header
        place = self._label_place(path, lines[0]) if lines else -1
        rows, labels = [], []
        with LineFaults(path) as faults:
            for line, record in enumerate(lines[self.header :], start=first):
                pixels, label = _without(record, place)
                if pixels and label:
                    rows.append((line, pixels))
                    labels.append(label)
                else:
                    found = f"ends with {record[-20:]!r}" if record.strip() else "is an empty line"
                    wanted = "each line must be the pixels of an image and its label"
                    faults.add(InputError(f"{path}:{line}: {found}; {wanted}"))
            images = self._pixels(path, rows, faults, note=" and a label")
        if not self.header and self.label_column == DEFAULT_LABEL:
            _check_label_is_last(path, labels, images.reshape(len(images), -1))
        return images, labels

    def read_unlabelled(self, path: object, lines: list[str], first: int, label_place: int | None) -> np.ndarray:
        """The images of lines without a header, from line `first` of a file; the column at `label_place` is skipped."""
        rows = lines if label_place is None else [_without(record, label_place)[0] for record in lines]
        with LineFaults(path) as faults:
            return self._pixels(path, list(enumerate(rows, start=first)), faults, note="")

    def label_place_to_predict(self, line: str) -> int | None:
        """Where the label is in a file to predict for that begins with `line`; None if it has none."""
        names = _names(line)
        if self.header:
            return names.index(self.label_column) if self.label_column in names else None
        has_label = self.image_shape is not None and len(names) == math.prod(self.image_shape) + 1
        return self._label_place("", line) if has_label else None

    def _label_place(self, path: object, line: str) -> int:
        names = _names(line)
        if self.header:
            if self.label_column not in names:
                raise missing_column(f"{path}:1", self.label_column, names)
            return names.index(self.label_column)
        if self.label_column == DEFAULT_LABEL:
            return -1
        if not self.label_column.isdecimal() or not 1 <= int(self.label_column) <= len(names):
            numbers = f"without a header (data.header) they are numbers, 1 to {len(names)}"
            raise InputError(f"{path}: no column {self.label_column!r} for data.label_column; {numbers}")
        return int(self.label_column) - 1

    def _pixels(self, path: object, lines: list[tuple[int, str]], faults: LineFaults, note: str) -> np.ndarray:
        if not lines:
            raise InputError(f"{path}: is empty; each line must be an image")
        first, record = lines[0]
        count = record.count(",") + 1
        side = math.isqrt(count)
        shape = tuple(self.image_shape) if self.image_shape is not None else (side, side)
        if len(shape) not in (2, 3) or min(shape) < 1:
            wanted = "height and width, perhaps channels, each >= 1"
            raise InputError(f"data.image_shape is {list(shape)}; it must be {wanted}")
        if math.prod(shape) != count:
            wanted = f"{shape}, {math.prod(shape)}" if self.image_shape is not None else "a square number of"
            raise InputError(
                f"{path}:{first}: {count} pixels where an image has {wanted} pixels{note}; set image_shape"
            )
        pixels = np.empty((len(lines), count), np.uint8)
        for row, (line, record) in enumerate(lines):
            fields = record.split(",")
            if len(fields) != count:
                found = f"{len(fields)} pixels where the first line has {count}"
                faults.add(InputError(f"{path}:{line}: {found}; correct this line"))
                continue
            try:
                if not _PIXEL_CHARACTERS.issuperset(record):  # int() takes 1_0 and other alphabets' digits too
                    raise ValueError
                pixels[row] = np.frombuffer(bytes(map(int, fields)), np.uint8)  # no numbers over 255
            except ValueError:
                bad = next(place for place, field in enumerate(fields) if not _is_pixel(field))
                hint = ", or set data.header true if this line names the columns" if line == 1 else ""
                found = f"pixel {bad + 1} is {fields[bad][:20]!r}"
                faults.add(InputError(f"{path}:{line}: {found}; it must be 0 to 255{hint}"))
        return pixels.reshape(len(lines), *shape)


ANY_TABLE = PixelTable()


def _names(line: str) -> list[str]:
    return [name.strip().strip('"') for name in line.split(",")]


def _without(record: str, place: int) -> tuple[str, str]:
    """The columns of a line but the one at `place`, and that one."""
    fields = record.split(",")
    label = fields.pop(place).strip() if place < len(fields) else ""
    return ",".join(fields), label


def _is_pixel(field: str) -> bool:
    return re.fullmatch(" *[0-9]{1,3} *", field) is not None and int(field) <= 255


def _check_label_is_last(path: object, labels: list[str], rows: np.ndarray) -> None:
    """Raise InputError if the first column counts classes from 0 or 1, and the last one, all pixels, does not."""
    if not all(map(_is_pixel, set(labels))):
        return
    found, at_first = sorted({int(label) for label in labels}), np.unique(rows[:, 0]).tolist()
    if _counts_classes(at_first) and not _counts_classes(found):
        raise InputError(
            f"{path}: the last column has numbers up to {found[-1]}, not all of them, and the first one has all from "
            f"{at_first[0]} to {at_first[-1]}, as labels do; set data.label_column to 1 if the label is first, or to "
            f"{rows.shape[1] + 1} if it is last"
        )


def _counts_classes(numbers: list[int]) -> bool:
    return len(numbers) > 1 and numbers[0] <= 1 and numbers == list(range(numbers[0], numbers[-1] + 1))
