"""The baseline of image classification against distances computed one by one."""

import numpy as np
import pytest

from app.datamodules.image_classification import nearest_mean


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 3)])
def test_it_is_the_class_whose_mean_is_nearest(shape, monkeypatch):
    monkeypatch.setattr(nearest_mean, "_AT_ONCE", 7)
    draw = np.random.default_rng(0)
    labels, pixels = draw.choice([0, 1, 3], 30), draw.integers(0, 256, (30, *shape), dtype=np.uint8)
    others = draw.integers(0, 256, (20, *shape), dtype=np.uint8)
    means = {label: pixels[labels == label].astype(float).mean(0) for label in (0, 1, 3)}
    expected = np.array([min(means, key=lambda c: float(((image - means[c]) ** 2).sum())) for image in others])
    assert nearest_mean.nearest_mean_accuracy(pixels, labels, others, expected, 4) == 1.0
    wrong = np.where(np.arange(20) < 5, 2, expected)
    assert nearest_mean.nearest_mean_accuracy(pixels, labels, others, wrong, 4) == 0.75
