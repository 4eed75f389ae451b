"""Counts are added and divided once."""

import math
from fractions import Fraction

import pytest
import torch
from torch import nn

from app.metrics import Ratio


def test_any_cutting_into_batches_gives_the_same_score():
    values = torch.rand(101, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    exact = float(sum(Fraction(float(v)) for v in values) / 101)
    for size in (1, 7, 64, 101):
        ratio = Ratio()
        for part in values.split(size):
            ratio.update(part.double().sum(), len(part))
        assert math.isclose(float(ratio.compute()), exact, rel_tol=1e-14)


def test_sums_do_not_lose_small_parts():
    """float32 would stop counting at 2**24."""
    ratio = Ratio()
    ratio.update(torch.tensor(2.0**24), 2**24)
    for _ in range(8):
        ratio.update(torch.tensor(1.0), 0)
    assert float(ratio.numerator) == 2**24 + 8


def test_nothing_counted_is_nan():
    ratio = Ratio()
    ratio.update(torch.tensor(0.0), 0)
    assert math.isnan(ratio.compute())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_sums_stay_exact_in_a_model_of_any_precision(dtype):
    model = nn.ModuleDict({"layer": nn.Linear(1, 1), "ratio": Ratio()}).to(dtype)
    assert model["layer"].weight.dtype == dtype
    for _ in range(2):  # what a reset leaves is as exact
        for _ in range(1000):
            model["ratio"].update(torch.tensor(1.0, dtype=dtype), 1)
        assert float(model["ratio"].compute()) == 1
        model["ratio"].reset()
