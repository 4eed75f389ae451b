"""Synthetic gradients against values computed by hand, and real ones against the theorem."""

import math

import pytest
import torch

from app.callbacks.diagnostics.gradient_statistics import STATISTICS, VIOLATIONS, Moments, row_statistics
from app.callbacks.diagnostics.norm_hooks import NormCall
from app.norms import build_norm, norm_class, norm_names

SPOKEN_OF = [name for name in norm_names() if norm_class(name).detaches_mean is not None]


def norm_call(name, rows=50, size=24, dtype=torch.float64, eps=1e-5):
    """A real one, with gain and bias away from 1 and 0."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    norm = build_norm(name, size, eps).to(dtype)
    for parameter in norm.parameters():
        parameter.data += 0.3 * draw(*parameter.shape)
    x = (3 * draw(rows, size) + draw(rows, 1)).requires_grad_()
    dy = draw(rows, size) + draw(rows, 1)
    (dx,) = torch.autograd.grad(norm(x), x, dy)
    return NormCall("site", norm, x.detach(), dy, dx)


def by_name(statistics):
    return dict(zip(STATISTICS, statistics.values, strict=True)) | dict(
        zip(VIOLATIONS, statistics.violations, strict=True)
    )


def test_values_computed_by_hand():
    x, g, dx = [1.0, 3.0, 5.0, 7.0], [1.0, 0.0, 0.0, -3.0], [0.5, 0.1, 0.1, -0.3]
    rows = torch.tensor([x, g, dx], dtype=torch.float64).unsqueeze(1)
    found = by_name(row_statistics(NormCall("site", build_norm("detachnorm", 4, eps=0.0).double(), *rows)))
    variance_g, variance_dx = 10 / 4 - 0.25, (0.25 + 0.01 + 0.01 + 0.09) / 4 - 0.01
    expected = {
        "dy_mean": -0.5, "dy_var": variance_g, "dx_mean": 0.1, "dx_var": variance_dx, "sigma": math.sqrt(5),
        "recentring": 0.1 / math.sqrt(variance_dx + 0.01), "rescaling": variance_dx * 5 / variance_g,
        # mean(dx) should be -0.5 / sqrt(5), var(dx) variance_g / 5; in units of rms(g) / sigma = sqrt(2.5 / 5)
        "mean_violation": (0.1 + 0.5 / math.sqrt(5)) / math.sqrt(0.5),
        "variance_violation": (variance_g / 5 - variance_dx) / 0.5,
    }  # fmt: skip
    assert {name: value.item() for name, value in found.items()} == pytest.approx(expected)


@pytest.mark.parametrize("name", SPOKEN_OF)
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float64, 1e-13), (torch.float32, 3e-6)])
def test_every_norm_of_the_theorem_holds_to_it(name, dtype, rounding):
    found = by_name(row_statistics(norm_call(name, dtype=dtype)))
    assert found["mean_violation"].max() < rounding and found["variance_violation"].max() < rounding
    if norm_class(name).detaches_sigma:
        torch.testing.assert_close(found["rescaling"], torch.ones_like(found["rescaling"]), rtol=1e-4, atol=0)
    else:
        assert found["rescaling"].max() <= 1 + 1e-4 and found["rescaling"].min() < 0.99
    if norm_class(name).detaches_mean:
        assert found["recentring"].median() > 0.05
    else:
        assert found["recentring"].max() < 100 * rounding


@pytest.mark.parametrize("name", SPOKEN_OF)
@pytest.mark.parametrize(("change", "violation"), [("mean", "mean_violation"), ("variance", "variance_violation")])
def test_a_planted_violation_is_found_at_its_size(name, change, violation):
    real = norm_call(name)
    statistics = by_name(row_statistics(real))
    unit = (statistics["dy_var"] + statistics["dy_mean"].square()).sqrt() / statistics["sigma"]
    if change == "mean":
        dx = real.dx + 0.01 * unit.unsqueeze(1)
        expected = torch.full_like(unit, 0.01)
    else:
        dx = real.dx.mean(1, keepdim=True) + 2 * (real.dx - real.dx.mean(1, keepdim=True))
        excess = (4 * statistics["dx_var"] - statistics["dy_var"] / statistics["sigma"].square()) / unit.square()
        expected = excess.clamp(min=0)
        assert (excess > 0).sum() > 25
    torch.testing.assert_close(by_name(row_statistics(real._replace(dx=dx)))[violation], expected)


@pytest.mark.parametrize("name", [name for name in norm_names() if name not in SPOKEN_OF])
def test_of_other_norms_there_are_statistics_without_a_theorem(name):
    found = row_statistics(norm_call(name))
    assert found.values.isfinite().all() and found.violations.isnan().all()


def test_moments_add_up_over_parts_and_leave_out_what_is_not_defined():
    whole = norm_call("layernorm")
    flat = whole.dy.clone()
    flat[0] = 2.0  # no variance: no rescaling
    whole = whole._replace(dy=flat)
    one, parts = Moments(torch.device("cpu")), Moments(torch.device("cpu"))
    one.add(row_statistics(whole))
    for rows in (slice(0, 7), slice(7, 50)):
        parts.add(row_statistics(NormCall("site", whole.norm, whole.x[rows], whole.dy[rows], whole.dx[rows])))
    torch.testing.assert_close(one.sums, parts.sums)
    torch.testing.assert_close(one.largest, parts.largest)
    values = row_statistics(whole).values[:-1].double()
    torch.testing.assert_close(one.sums[:-1, 1], values.sum(1))
    torch.testing.assert_close(one.sums[:-1, 2], values.square().sum(1))
    assert one.sums[0, 0] == 50


@pytest.mark.parametrize("size", [1e-15, 1e-25, 1e-35])
def test_tiny_gradients_violate_nothing(size):
    real = norm_call("layernorm_simple", dtype=torch.float32)
    dy = real.dy * size
    x = real.x.clone().requires_grad_()
    (dx,) = torch.autograd.grad(real.norm(x), x, dy)
    moments = Moments(torch.device("cpu"))
    moments.add(row_statistics(NormCall("site", real.norm, real.x, dy, dx)))
    assert moments.largest.max() < 3e-6
    assert moments.sums[-1, 0] == 50 and moments.sums[-1, 1] / 50 == pytest.approx(
        row_statistics(real).values[-1].mean().item(), rel=1e-4
    )


def test_half_precision_is_measured_in_float64():
    real = norm_call("detachnorm", dtype=torch.float32)
    half = NormCall("site", real.norm, real.x.bfloat16(), real.dy.bfloat16(), real.dx.bfloat16())
    statistics = row_statistics(half)
    assert statistics.values.dtype == torch.float64
    torch.testing.assert_close(statistics.values[-1], torch.ones(50, dtype=torch.float64), rtol=0.05, atol=0)
