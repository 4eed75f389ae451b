"""Distances, shares of the update and AdaNorm's factor against values computed by hand or by numpy."""

import numpy as np
import pytest
import torch
from torch import nn

from app.callbacks.diagnostics.norm_parameters import FactorCounts, distances, update_shares
from app.norms import build_norm


def test_distances_by_hand():
    norm = build_norm("layernorm", 2)
    norm.weight.data = torch.tensor([1.3, 0.6])
    norm.bias.data = torch.tensor([0.0, 0.2])
    dyt = build_norm("dyt", 2, alpha_init=0.8)
    found = distances({"a": norm, "b": dyt, "c": build_norm("none", 2)})
    assert found == pytest.approx({
        "norm_param/gain_distance/a": ((0.09 + 0.16) / 2) ** 0.5, "norm_param/bias_distance/a": (0.04 / 2) ** 0.5,
        "norm_param/gain_distance/b": 0, "norm_param/bias_distance/b": 0, "norm_param/alpha/b": 0.8,
    })  # fmt: skip


def test_shares_of_the_update_by_hand():
    model = nn.ModuleDict({"norm": build_norm("layernorm", 2), "linear": nn.Linear(2, 1, bias=False)})
    model["frozen"] = nn.Linear(1, 1).requires_grad_(False)
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    with torch.no_grad():
        model["norm"].weight += torch.tensor([1.0, 0.0])
        model["norm"].bias += torch.tensor([1.0, 1.0])
        model["linear"].weight += torch.tensor([[2.0, 1.0]])
    assert update_shares(model, {"norm": model["norm"]}, before) == pytest.approx({
        "norm_param/update_share/norm": 3 / 8, "norm_param/gain_update_share": 1 / 8,
        "norm_param/bias_update_share": 2 / 8,
    })  # fmt: skip


def test_no_update_has_no_shares():
    norm = build_norm("layernorm", 2)
    assert update_shares(norm, {"": norm}, {name: p.detach().clone() for name, p in norm.named_parameters()}) == {}


def test_the_factor_is_distributed_as_numpy_says():
    norm = build_norm("adanorm", 200, k=0.3)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 200, generator=generator).exp()  # skewed: large positive y
    counts = FactorCounts(norm, torch.device("cpu"))
    for part in x.split(150):
        counts.add(part)
    found = counts.statistics(counts.counts)
    ky = 0.3 * (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + norm.eps).sqrt()
    width = 2 * 0.3 * 199**0.5 / 2000
    for name, share in (("01", 0.01), ("25", 0.25), ("50", 0.5), ("75", 0.75), ("99", 0.99)):
        assert found[f"ky_q{name}"] == pytest.approx(np.quantile(ky.numpy(), share), abs=width)
    assert (
        found["ky_beyond_share"] == pytest.approx((ky >= 1).float().mean().item()) and found["ky_beyond_share"] > 0.01
    )
    assert found["ky_beyond_share"] <= 0.3**2  # Chebyshev
    assert found["ky_mean"] == pytest.approx(0, abs=1e-6)
    assert found["ky_std"] == pytest.approx(ky.square().mean().sqrt().item(), rel=1e-5)


def test_nothing_counted_has_no_statistics():
    counts = FactorCounts(build_norm("adanorm", 4), torch.device("cpu"))
    assert counts.statistics(counts.counts) == {}
