"""Our norms against their plain formulas and the gradients one derives on paper, in float64."""

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from app.norms import Norm, NormError, build_norm, norm_class, norm_names
from app.norms.functional import FUNCTIONS
from tests.norms.cases import assert_same, draw, gradients, leaf, make
from tests.norms.formulas import CLOSED_FORMS, FORMULAS, OURS, POINTWISE

EXACT = {"rtol": 1e-10, "atol": 1e-10}
# (leading shape, normalized shape); a size of 1 in every place, an empty batch, no batch at all
SHAPES = [
    ((6,), (1,)),
    ((5,), (2,)),
    ((2, 3), (7,)),
    ((), (16,)),
    ((0,), (8,)),
    ((2, 0), (3, 4)),
    ((1, 2), (129,)),
    ((3,), (1024,)),
    ((0, 2), (512,)),
    ((2, 3), (8, 9, 10)),
    ((2,), (3, 4, 4)),
    ((2, 2), (5, 1, 3)),
    ((), (2, 3)),
    ((40,), (64,)),
]


def test_every_norm_of_ours_is_registered_and_has_both_references() -> None:
    assert set(OURS) <= set(norm_names())
    assert set(OURS) == set(FORMULAS) == set(CLOSED_FORMS)


@pytest.mark.parametrize(("batch", "shape"), SHAPES, ids=str)
@pytest.mark.parametrize("name", OURS)
def test_output_and_gradients_are_the_formula_s(name: str, batch: tuple[int, ...], shape: tuple[int, ...]) -> None:
    norm = make(name, shape)
    x, g = leaf(draw(*batch, *shape)), draw(*batch, *shape, seed=2)
    output = norm(x)
    expected = FORMULAS[name](norm, x)
    torch.testing.assert_close(output, expected, **EXACT)
    got = gradients(norm, output, x, g)
    assert_same(got, gradients(norm, expected, x, g), **EXACT)
    with torch.no_grad():
        assert_same(got, CLOSED_FORMS[name](norm, x, g), **EXACT)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("name", OURS)
def test_formula_holds_where_eps_rules_and_where_it_vanishes(name: str, scale: float) -> None:
    norm = make(name, 33, eps=1e-3)
    x, g = leaf(scale * draw(4, 33)), draw(4, 33, seed=2)
    output, expected = norm(x), FORMULAS[name](norm, x)
    torch.testing.assert_close(output, expected, **EXACT)
    assert_same(gradients(norm, output, x, g), gradients(norm, expected, x, g), **EXACT)


@pytest.mark.parametrize("shape", [(2, 3), (512,)], ids=str)
@pytest.mark.parametrize("name", OURS)
def test_second_derivatives_are_the_formula_s(name: str, shape: tuple[int, ...]) -> None:
    norm = make(name, shape)
    x, g = leaf(draw(4, *shape)), leaf(draw(4, *shape, seed=2))

    def second(output: torch.Tensor) -> dict[str, torch.Tensor]:
        first = gradients(norm, output, x, g, create_graph=True)
        penalty = sum((value**3).sum() for value in first.values())
        named = {"x": x, "g": g, **dict(norm.named_parameters())}
        values = torch.autograd.grad(penalty, list(named.values()), allow_unused=True, materialize_grads=True)
        return dict(zip(named, values, strict=True))

    assert_same(second(norm(x)), second(FORMULAS[name](norm, x)), **EXACT)


@pytest.mark.parametrize("name", [name for name in norm_names() if norm_class(name).detaches_mean is not None])
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_theorem_of_the_paper(name: str, scale: float) -> None:
    """Mean and variance of the gradient that reaches x, from those of the gradient at y; eps costs eps / sigma^2."""
    norm = make(name, 64)
    x = leaf(scale * draw(16, 64))
    gradient = draw(16, 64, seed=2)
    reaches_x = gradients(norm, norm(x), x, gradient)["x"]
    with torch.no_grad():
        g = norm.gradient_at_y(gradient, x)
        variance_x, y = x.var(-1, correction=0), F.layer_norm(x, (64,), eps=0)
        mean_g, variance_g = g.mean(-1), g.var(-1, correction=0)
    slack = {"rtol": 2 * (norm.eps / variance_x).max().item() + 1e-12, "atol": 1e-12}

    expected_mean = mean_g / variance_x.sqrt() if norm.detaches_mean else torch.zeros(16, dtype=torch.float64)
    torch.testing.assert_close(reaches_x.mean(-1), expected_mean, **slack)
    bound = variance_g / variance_x
    got = reaches_x.var(-1, correction=0)
    if norm.detaches_sigma:
        torch.testing.assert_close(got, bound, **slack)
    else:
        assert (got <= bound * (1 + slack["rtol"])).all()
        torch.testing.assert_close(got, bound - (g * y).mean(-1) ** 2 / variance_x, **slack)


def test_theorem_s_four_cases_are_all_among_our_norms() -> None:
    cases = {(norm_class(name).detaches_mean, norm_class(name).detaches_sigma) for name in OURS}
    assert cases == {(None, None), (False, False), (False, True), (True, False), (True, True)}


@pytest.mark.parametrize("name", ["layernorm", "layernorm_gain"])
def test_layernorm_is_torch_s(name: str) -> None:
    norm = make(name, 24, torch.float32)
    torch_s = torch.nn.LayerNorm(24, bias=name == "layernorm")
    torch_s.load_state_dict(norm.state_dict())
    x, g = leaf(draw(5, 24, dtype=torch.float32)), draw(5, 24, dtype=torch.float32, seed=2)
    assert torch.equal(norm(x), torch_s(x))
    assert_same(gradients(norm, norm(x), x, g), gradients(torch_s, torch_s(x), x, g), rtol=0, atol=0)


@pytest.mark.parametrize("shape", [24, (3, 8)])
def test_rmsnorm_is_torch_s(shape: int | tuple[int, ...]) -> None:
    norm = make("rmsnorm", shape)
    torch_s = torch.nn.RMSNorm(shape, eps=norm.eps, dtype=torch.float64)
    torch_s.load_state_dict(norm.state_dict())
    x, g = leaf(draw(5, *norm.normalized_shape)), draw(5, *norm.normalized_shape, seed=2)
    torch.testing.assert_close(norm(x), torch_s(x), **EXACT)
    assert_same(gradients(norm, norm(x), x, g), gradients(torch_s, torch_s(x), x, g), **EXACT)


def test_scalenorm_starts_as_rmsnorm() -> None:
    x = draw(5, 24, dtype=torch.float32)
    torch.testing.assert_close(build_norm("scalenorm", 24)(x), build_norm("rmsnorm", 24)(x))


@pytest.mark.parametrize("name", OURS)
def test_parameters_start_where_the_literature_starts_them(name: str) -> None:
    norm = build_norm(name, (2, 8))
    starts = {"weight": torch.ones(2, 8), "bias": torch.zeros(2, 8), "scale": torch.tensor([4.0])}
    starts |= {"alpha": torch.tensor([0.5]), "shift": torch.zeros(1), "root_beta": torch.tensor([4.0])}
    starts |= {"pre_weight": torch.ones(2, 8), "beta": torch.zeros(2, 8), "lam": torch.tensor([2.0])}
    if "seednorm" in name:
        starts["alpha"] = torch.ones(2, 8)
    if name == "zero_centered_rmsnorm":
        starts["weight"] = torch.zeros(2, 8)
    if name == "gatednorm":  # the same numbers for every norm of a shape
        starts |= {key: dict(build_norm(name, (2, 8)).named_parameters())[key] for key in ("down", "up")}
        assert 0.015 < norm.down.std() < 0.025
    for key, parameter in norm.named_parameters():
        assert torch.equal(parameter, starts[key]), key


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_of_pointwise_are_bounded_and_their_slopes_right(function: str) -> None:
    norm = build_norm("pointwise", 41, function=function, alpha_init=1.0).double()
    x = leaf(torch.linspace(-60, 60, 41, dtype=torch.float64).expand(3, 41) / torch.tensor([[1.0], [20.0], [300.0]]))
    output, expected = norm(x), POINTWISE[function](x)
    torch.testing.assert_close(output, expected, **EXACT)
    g = draw(3, 41, seed=2)
    at_0 = x != 0 if function in ("expsign", "saturlog") else torch.ones_like(x)  # sgn has no slope there, |u| has
    assert_same(
        {"x": gradients(norm, output, x, g)["x"] * at_0}, {"x": torch.autograd.grad(expected, x, g)[0] * at_0}, **EXACT
    )
    assert output.abs().max() <= 1 and FUNCTIONS.keys() == POINTWISE.keys()
    torch.testing.assert_close(norm.float()(x.float()).double(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["seednorm", "detach_seednorm"])
def test_heads_of_seednorm_have_a_factor_each(name: str) -> None:
    norm = build_norm(name, (4, 6), heads=3).double()
    with torch.no_grad():
        norm.beta.copy_(0.1 * draw(4, 6, seed=3))
    x, g = leaf(draw(5, 4, 6)), draw(5, 4, 6, seed=2)
    output, expected = norm(x), FORMULAS[name](norm, x)
    torch.testing.assert_close(output, expected, **EXACT)
    assert_same(gradients(norm, output, x, g), gradients(norm, expected, x, g), **EXACT)
    assert len((output / x * (x**2).mean((1, 2), keepdim=True).sqrt())[0].detach().unique_consecutive()) >= 3


@pytest.mark.parametrize("base", ["layernorm", "rmsnorm"])
def test_layernorm_scaled_is_its_base_over_the_root_of_the_layer(base: str) -> None:
    norm = build_norm("layernorm_scaled", (4, 6), base=base, layer=3).double()
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.copy_(draw(4, 6, seed=3))
    x, g = leaf(draw(5, 4, 6)), draw(5, 4, 6, seed=2)
    output, expected = norm(x), FORMULAS["layernorm_scaled"](norm, x)
    torch.testing.assert_close(output, expected, **EXACT)
    got = gradients(norm, output, x, g)
    assert_same(got, gradients(norm, expected, x, g), **EXACT)
    with torch.no_grad():
        assert_same(got, CLOSED_FORMS["layernorm_scaled"](norm, x, g), **EXACT)
    assert norm.detaches_mean is norm.detaches_sigma is (None if base == "rmsnorm" else False)
    of_base, first = build_norm(base, 24), build_norm("layernorm_scaled", 24, base=base, layer=1)
    assert [name for name, _ in first.named_parameters()] == [name for name, _ in of_base.named_parameters()]
    assert torch.equal(first(x.float().flatten(1)), of_base(x.float().flatten(1)))


def test_relatives_are_equal_where_the_literature_says_so() -> None:
    x = draw(5, 24)
    rmsnorm = build_norm("rmsnorm", 24)(x)
    for name, options in (
        ("seednorm", {}),
        ("zero_centered_rmsnorm", {}),
        ("prmsnorm", {"p": 1.0}),
        ("detach_rms", {}),
    ):
        torch.testing.assert_close(build_norm(name, 24, **options)(x), rmsnorm, **EXACT)
    torch.testing.assert_close(build_norm("simple_rmsnorm", 24)(x), rmsnorm, **EXACT)
    torch.testing.assert_close(build_norm("l2norm", 24, 0.0)(x).norm(dim=-1), torch.ones(5, dtype=x.dtype), **EXACT)
    torch.testing.assert_close(build_norm("pointwise", 24, function="erf")(x), build_norm("derf", 24)(x), **EXACT)
    small = 1e-4 * x  # where bhyt is linear
    torch.testing.assert_close(
        build_norm("bhyt", 24, kappa=1e4, lambda_init=1e4)(small), build_norm("rmsnorm", 24)(small).tanh()
    )


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("pointwise", {"function": "relu"}, "function is 'relu'; allowed: tanh, erf"),
        ("dyisru", {"slope_init": 0.0}, "slope_init must be above 0"),
        ("prmsnorm", {"p": 1.5}, "p must be above 0 and at most 1"),
        ("seednorm", {"heads": 0}, "heads must be >= 1"),
        ("seednorm", {"heads": 5}, "heads is 5, which does not divide the 24 features"),
        ("gatednorm", {"rank": 0}, "rank must be >= 1"),
        ("bhyt", {"kappa": 0.0}, "kappa must not be 0"),
        ("layernorm_scaled", {"base": "adanorm"}, "base is 'adanorm'; allowed: layernorm, rmsnorm"),
        ("layernorm_scaled", {"layer": 0}, "layer must be >= 1 or auto, got 0"),
    ],
)
def test_options_that_a_norm_cannot_take_are_refused(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(NormError, match=re.escape(words)):
        build_norm(name, 24, **options)


def test_dyt_starts_at_the_slope_that_is_asked_for() -> None:
    norm = build_norm("dyt", 3, alpha_init="2")
    torch.testing.assert_close(norm(torch.full((3,), 0.1)), torch.full((3,), 0.2).tanh())


@pytest.mark.parametrize("name", OURS)
def test_output_may_be_overwritten_in_place(name: str) -> None:
    norm = make(name)
    x, g = leaf(draw(5, 8)), draw(5, 8, seed=2)
    expected = gradients(norm, F.relu(norm(x)), x, g)
    assert_same(gradients(norm, F.relu_(norm(x * 1)), x, g), expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", OURS)
def test_saves_no_more_for_backward_than_layernorm(name: str) -> None:
    def saved_bytes(norm: Norm) -> int:
        storages: dict[int, int] = {}
        own = {parameter.untyped_storage().data_ptr() for parameter in norm.parameters()}

        def pack(t: torch.Tensor) -> torch.Tensor:
            if t.untyped_storage().data_ptr() not in own:
                storages[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            output = norm(leaf(draw(32, 128, dtype=torch.float32)))
        assert output.requires_grad
        return sum(storages.values())

    constants = 2 * 128 * 4  # those of the size of a gain and a bias do not grow with the batch
    assert saved_bytes(build_norm(name, 128)) <= saved_bytes(build_norm("layernorm", 128)) + constants
