"""The nearest class mean: the baseline of image classification, which takes a second."""

from __future__ import annotations

import numpy as np

_AT_ONCE = 1_000  # images that are compared at a time: as floats they take eight times their memory


def nearest_mean_accuracy(
    pixels: np.ndarray, labels: np.ndarray, test_pixels: np.ndarray, test_labels: np.ndarray, classes: int
) -> float:
    """Choose for each image the class whose mean training image is nearest, and return the accuracy.

    Args:
        pixels: (N, ...) uint8, the training images.
        labels: (N,) their class ids.
        test_pixels: (M, ...) uint8.
        test_labels: (M,) class ids.
        classes: number of classes; one without training images is never chosen.
    """
    there = [label for label in range(classes) if np.any(labels == label)]
    means = np.stack([pixels[labels == label].mean(0).reshape(-1) for label in there])  # (classes, pixels)
    hits = 0
    for begin in range(0, len(test_pixels), _AT_ONCE):
        images = test_pixels[begin : begin + _AT_ONCE].reshape(-1, means.shape[1]).astype(np.float64)
        nearness = images @ means.T - (means**2).sum(1) / 2  # of the squared distance, what differs between classes
        hits += int((np.array(there)[nearness.argmax(1)] == test_labels[begin : begin + _AT_ONCE]).sum())
    return hits / len(test_pixels)
