"""Half precision, float32 far from zero, and autocast: how much of the true value is left."""

import pytest
import torch
import torch.nn.functional as F

from app.norms import base, norm_class, norm_names
from app.norms.base import autocast_to_float32
from tests.norms.cases import draw, gradients, leaf, make
from tests.norms.formulas import FORMULAS, OURS

over_the_registry = pytest.mark.parametrize("name", norm_names())
HALF = [torch.float16, torch.bfloat16]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def error(got: torch.Tensor, truth: torch.Tensor) -> float:
    return (got.double() - truth.double()).abs().max().item()


@pytest.mark.parametrize("parameters", ["half", "float32"])
@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (1, 8), (500, 0)])
@pytest.mark.parametrize("dtype", HALF, ids=str)
@over_the_registry
def test_half_precision_loses_its_own_rounding_only(
    name: str, dtype: torch.dtype, scale: float, offset: float, parameters: str
) -> None:
    """Around 8 a mean kept in bfloat16 would be wrong by up to 0.03; squares of 500 are no float16 numbers."""
    half = make(name, 64, dtype if parameters == "half" else torch.float32)
    wide = make(name, 64, torch.float32)
    wide.load_state_dict(half.state_dict())
    x, g = leaf(scale * draw(40, 64, dtype=dtype) + offset), draw(40, 64, dtype=dtype, seed=2)
    wide_x = leaf(x.float())
    output, truth = half(x), wide(wide_x)
    got, expected = gradients(half, output, x, g), gradients(wide, truth, wide_x, g.float())

    # Three roundings of the largest value: layernorm_simple and adanorm round y and what is made of it.
    unit, least = torch.finfo(dtype).eps, torch.finfo(dtype).tiny  # derf's slope at 8 is below the least float16
    assert error(output, truth) <= 1.5 * unit * truth.abs().max()
    assert error(got.pop("x"), expected["x"]) <= 1.5 * unit * expected["x"].abs().max() + least
    for key, value in got.items():
        assert error(value, expected[key]) <= 4 * unit * expected[key].abs().max().clamp(min=1)


@pytest.mark.parametrize("name", [name for name in OURS if norm_class(name).detaches_mean is not None])
def test_far_from_zero_as_accurate_as_torch(name: str) -> None:
    """The mean of squares minus the square of the mean would leave nothing of x + 1e4 in float32."""
    norm, exact = make(name, 256, torch.float32), make(name, 256)
    x, g = leaf(draw(64, 256, dtype=torch.float32) + 1e4), draw(64, 256, dtype=torch.float32, seed=2)
    exact_x, exact_g = leaf(x.double()), g.double()
    output, truth = norm(x), FORMULAS[name](exact, exact_x)
    torch_s, torch_truth = F.layer_norm(x, (256,)), F.layer_norm(exact_x, (256,))
    assert error(output, truth) <= 6 * error(torch_s, torch_truth)  # the derivative of adanorm's z by y reaches 5

    got, expected = gradients(norm, output, x, g), gradients(exact, truth, exact_x, exact_g)
    torch_error = error(
        *(torch.autograd.grad(y, x, g)[0] for y, x, g in ((torch_s, x, g), (torch_truth, exact_x, exact_g)))
    )
    assert error(got["x"], expected["x"]) <= 6 * torch_error


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@over_the_registry
def test_cpu_autocast_does_what_it_does_to_nn_layernorm(name: str, dtype: torch.dtype) -> None:
    norm = make(name, 16, torch.float32)
    x = leaf(draw(5, 16, dtype=dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = norm(x)
        expected_dtype = torch.nn.LayerNorm(16)(x).dtype
    assert output.dtype == expected_dtype
    assert torch.equal(output, norm(x))
    assert gradients(norm, output, x, torch.ones_like(output))["x"].dtype == dtype


@pytest.mark.parametrize("device", ["cpu", "cuda", "xpu", "mps"])
def test_autocast_policy_is_torch_s_own(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device_type: device_type == device)
    listed = torch._C._dispatch_has_kernel_for_dispatch_key("aten::layer_norm", f"Autocast{device.upper()}")
    for dtype in HALF:
        assert autocast_to_float32(device, dtype) == listed
    assert not autocast_to_float32(device, torch.float32)
    assert not autocast_to_float32(device, torch.float64)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device_type: False)
    assert not autocast_to_float32(device, torch.float16)


@over_the_registry
def test_follows_the_autocast_policy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    norm, x = make(name, 16, torch.float32), leaf(draw(5, 16, dtype=torch.bfloat16))
    monkeypatch.setattr(base, "autocast_to_float32", lambda device, dtype: (device, dtype) == ("cpu", torch.bfloat16))
    output = norm(x)
    assert output.dtype == torch.float32 and torch.equal(output, norm(x.float()))
    assert gradients(norm, output, x, torch.ones_like(output))["x"].dtype == torch.bfloat16


@needs_cuda
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
@over_the_registry
def test_cuda_autocast_does_what_it_does_to_nn_layernorm(name: str, dtype: torch.dtype) -> None:
    parameters = torch.promote_types(dtype, torch.float32)
    norm = make(name, 16, parameters).cuda()
    x = leaf(draw(5, 16, dtype=dtype).cuda())
    with torch.autocast("cuda", dtype=torch.float16):
        output = norm(x)
        assert output.dtype == torch.nn.LayerNorm(16, device="cuda", dtype=parameters)(x).dtype
    assert gradients(norm, output, x, torch.ones_like(output))["x"].dtype == dtype


@needs_cuda
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(64,), (3, 4)], ids=str)
@over_the_registry
def test_cuda_agrees_with_cpu(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    norm = make(name, shape, dtype)
    x, g = leaf(draw(5, *shape, dtype=dtype)), draw(5, *shape, dtype=dtype, seed=2)
    expected_output = norm(x)
    expected = gradients(norm, expected_output, x, g)
    norm, cuda_x = norm.cuda(), leaf(x.cuda())
    output = norm(cuda_x)
    unit = torch.finfo(dtype).eps
    assert error(output.cpu(), expected_output) <= 16 * unit * expected_output.abs().max()
    for key, value in gradients(norm, output, cuda_x, g.cuda()).items():
        assert error(value.cpu(), expected[key]) <= 16 * unit * expected[key].abs().max().clamp(min=1)
