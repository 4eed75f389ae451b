"""The norm contract of app/norms/base.py, over the registry: a new norm is tested here by being registered."""

import copy

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from app.norms import Norm, bind_options, build_norm, norm_class, norm_names
from tests.norms.cases import assert_same, draw, gradients, leaf, make

over_the_registry = pytest.mark.parametrize("name", norm_names())
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
LAYOUTS = {
    "transposed": lambda t: t.transpose(0, 1).contiguous().transpose(0, 1),
    "strided": lambda t: torch.stack([t, -t], dim=-1)[..., 0],
    "expanded": lambda t: t[:1].expand_as(t),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("batch", "shape"), [((2, 3), (8,)), ((), (8,)), ((2,), (3, 4, 4)), ((3,), (1,))], ids=str)
@over_the_registry
def test_keeps_shape_and_dtype(name: str, batch: tuple[int, ...], shape: tuple[int, ...], dtype: torch.dtype) -> None:
    norm = make(name, shape, dtype)
    x = leaf(draw(*batch, *shape, dtype=dtype))
    output = norm(x)
    assert (output.shape, output.dtype, output.device) == (x.shape, dtype, x.device)
    for key, gradient in gradients(norm, output, x, torch.ones_like(output)).items():
        parameter = dict(norm.named_parameters()).get(key, x)
        assert (gradient.shape, gradient.dtype) == (parameter.shape, parameter.dtype)
        assert gradient.isfinite().all()


@over_the_registry
def test_keeps_half_precision_beside_float32_parameters(name: str) -> None:
    norm = make(name, 8, torch.float32)
    x = leaf(draw(5, 8, dtype=torch.bfloat16))
    output = norm(x)
    assert output.dtype == torch.bfloat16
    got = gradients(norm, output, x, torch.ones_like(output))
    assert got.pop("x").dtype == torch.bfloat16
    assert all(gradient.dtype == torch.float32 for gradient in got.values())


@pytest.mark.parametrize("wrong", [(4, 7), (8, 4), (4,), ()], ids=str)
@over_the_registry
def test_refuses_another_shape_and_names_both(name: str, wrong: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"\(2, 8\).*{'.*'.join(map(str, wrong))}"):
        build_norm(name, (2, 8))(torch.zeros(wrong))


@pytest.mark.parametrize("shape", [0, -1, (), (4, 0)], ids=str)
@over_the_registry
def test_refuses_an_impossible_normalized_shape(name: str, shape: int | tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="normalized_shape must be"):
        norm_class(name)(shape)


@pytest.mark.parametrize("eps", [-1e-5, float("nan"), float("inf")])
@over_the_registry
def test_refuses_an_impossible_eps(name: str, eps: float) -> None:
    with pytest.raises(ValueError, match="eps must be"):
        norm_class(name)(8, eps)


@over_the_registry
def test_accepts_what_nn_layernorm_accepts_as_a_shape(name: str) -> None:
    for shape in (torch.Size([3, 4]), [3, 4]):
        assert build_norm(name, shape).normalized_shape == (3, 4)
    with pytest.raises(TypeError):
        build_norm(name, 3.5)


@over_the_registry
def test_gradient_is_the_derivative_where_the_class_says_so(name: str) -> None:
    norm = make(name, (2, 3))
    x = leaf(draw(2, 2, 3))
    parameters = dict(norm.named_parameters())

    def call(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(norm, dict(zip(parameters, values, strict=True)), x)

    is_derivative = torch.autograd.gradcheck(call, (x, *parameters.values()), raise_exception=False)
    assert is_derivative == norm.true_gradient
    if norm.detaches_mean or norm.detaches_sigma:
        assert not norm.true_gradient


@over_the_registry
def test_second_derivative_is_right_or_refused(name: str) -> None:
    norm = make(name, 5)
    x, g = leaf(draw(3, 5)), leaf(draw(3, 5, seed=2))
    try:
        torch.autograd.grad(gradients(norm, norm(x), x, g, create_graph=True)["x"].sum(), g)
    except RuntimeError:
        return  # a clear error is allowed; a wrong number is not
    if norm.true_gradient:
        torch.autograd.gradgradcheck(norm, (x,), (g,))


@over_the_registry
def test_every_parameter_is_used(name: str) -> None:
    norm = make(name)
    norm(leaf(draw(5, 8))).mul(draw(5, 8, seed=2)).sum().backward()
    for key, parameter in norm.named_parameters():
        assert parameter.grad is not None and parameter.grad.count_nonzero() > 0, key


@pytest.mark.parametrize("batch", [(0,), (2, 0)], ids=str)
@over_the_registry
def test_empty_batch(name: str, batch: tuple[int, ...]) -> None:
    norm = make(name, (2, 4))
    x = leaf(draw(*batch, 2, 4))
    output = norm(x)
    assert output.shape == x.shape
    got = gradients(norm, output, x, torch.ones_like(output))
    assert got.pop("x").shape == x.shape
    assert all(gradient.count_nonzero() == 0 for gradient in got.values())


@pytest.mark.parametrize("layout", LAYOUTS)
@over_the_registry
def test_memory_layout_does_not_matter(name: str, layout: str) -> None:
    norm = make(name, (3, 4))
    lay = LAYOUTS[layout]
    x, g = lay(draw(5, 2, 3, 4)).requires_grad_(), lay(draw(5, 2, 3, 4, seed=2))
    assert not x.is_contiguous() and not g.is_contiguous()
    output = norm(x)
    plain = leaf(x.contiguous())
    expected = norm(plain)
    torch.testing.assert_close(output, expected)
    assert_same(gradients(norm, output, x, g), gradients(norm, expected, plain, g.contiguous()))


@over_the_registry
def test_overwrites_nothing_that_it_was_given(name: str) -> None:
    norm = make(name)
    x, g = leaf(draw(5, 8)), draw(5, 8, seed=2)
    x_before, g_before = x.detach().clone(), g.clone()
    output = norm(x)
    first = gradients(norm, output, x, g, retain_graph=True)
    assert torch.equal(x, x_before) and torch.equal(g, g_before)
    assert_same(gradients(norm, output, x, g), first, rtol=0, atol=0)


@over_the_registry
def test_draws_no_random_numbers(name: str) -> None:
    state = torch.get_rng_state()
    norm = build_norm(name, 8).train()
    x = leaf(draw(5, 8, dtype=torch.float32))
    norm(x).sum().backward()
    assert torch.equal(torch.get_rng_state(), state)


@over_the_registry
def test_training_and_evaluation_are_the_same(name: str) -> None:
    norm, x = make(name), draw(5, 8)
    assert torch.equal(norm.train()(x), norm.eval()(x))


@over_the_registry
def test_state_dict_carries_it_all(name: str) -> None:
    norm, x = make(name), draw(5, 8)
    fresh = build_norm(name, 8, **bind_options(name, {key: getattr(norm, key) for key in bind_options(name, {})}))
    assert set(norm.state_dict()) == set(dict(norm.named_parameters()))
    fresh.double().load_state_dict(norm.state_dict())
    assert torch.equal(fresh(x), norm(x))


@over_the_registry
def test_deepcopy_is_equal_and_apart(name: str) -> None:
    norm, x = make(name), draw(5, 8)
    before = norm(x)
    twin = copy.deepcopy(norm)
    assert torch.equal(twin(x), before)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert torch.equal(norm(x), before)


@pytest.mark.parametrize("reentrant", [False, True])
@over_the_registry
def test_gradient_checkpointing(name: str, reentrant: bool) -> None:
    norm = make(name)
    results = []
    for call in (norm, lambda x: checkpoint(norm, x, use_reentrant=reentrant)):
        x = leaf(draw(5, 8))
        norm.zero_grad()
        call(x).mul(draw(5, 8, seed=2)).sum().backward()
        results.append({"x": x.grad, **{key: p.grad for key, p in norm.named_parameters()}})
    assert_same(results[1], results[0], rtol=0, atol=0)


@over_the_registry
def test_options_are_attributes_and_are_printed(name: str) -> None:
    norm = make(name, (2, 3))
    for option in bind_options(name, {}):
        assert f"{option}={getattr(norm, option)}" in repr(norm)
    assert "(2, 3), eps=1e-05" in repr(norm)


@over_the_registry
def test_says_what_it_is(name: str) -> None:
    cls = norm_class(name)
    assert cls.__doc__ and cls.__doc__ != Norm.__doc__
    assert (cls.detaches_mean is None) == (cls.detaches_sigma is None)
    for option in bind_options(name, {}):
        assert f"`{option}`" in cls.__doc__, f"the docstring of {name} does not explain `{option}`"
