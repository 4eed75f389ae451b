"""torch.compile(fullgraph=True), forward and backward: what comes out is what eager gives."""

import shutil
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from app.norms import norm_names
from app.norms.base import autocast_to_float32
from tests.conftest import mostly_slow
from tests.norms.cases import assert_same, draw, gradients, make
from tests.norms.formulas import OURS

pytestmark = [  # torch warns of itself: dynamo instantiates the Functions it traces, inductor imports torch.jit
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def forget_compiled_code() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def step(call: Callable[[Tensor], Tensor], module: nn.Module, x: Tensor) -> dict[str, Tensor]:
    x = x.detach().requires_grad_()
    output = call(x)
    return {"output": output.detach(), **gradients(module, output, x, draw(*x.shape, dtype=x.dtype, seed=2))}


@pytest.mark.parametrize("name", mostly_slow(norm_names(), "detachnorm", "layernorm"))
def test_compiles_as_one_graph_with_its_backward(name: str) -> None:
    norm = make(name, (2, 4))
    compiled = torch.compile(norm, fullgraph=True, backend="aot_eager")
    for x in (draw(3, 2, 4), draw(4, 2, 5).transpose(0, 2)):  # the other size and layout compile anew
        assert_same(step(compiled, norm, x), step(norm, norm, x))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_inductor_computes_what_eager_does() -> None:
    """All functions of ours in one graph: a compilation takes seconds, and inductor rewrites aten's kernels."""
    others = {"layernorm_gain", "layernorm_bias", "scalenorm", "l2norm", "simple_rmsnorm", "zero_centered_rmsnorm"}
    others |= {"dyisru", "pointwise", "detach_seednorm"}  # the functions of these are those of norms in the chain
    chain = nn.Sequential(*(make(name, 32, torch.float32) for name in OURS if name not in others))
    x = draw(6, 32, dtype=torch.float32)
    compiled = torch.compile(chain, fullgraph=True)
    assert_same(step(compiled, chain, x), step(chain, chain, x), rtol=1e-4, atol=1e-4)


def test_the_autocast_policy_is_followed_inside_a_graph() -> None:
    def forward(x: Tensor) -> Tensor:
        return x.float() if autocast_to_float32("cuda", x.dtype) else x * 1

    compiled = torch.compile(forward, fullgraph=True, backend="eager")
    x = draw(3, dtype=torch.bfloat16)
    before = torch.is_autocast_enabled("cuda")
    try:
        for enabled, dtype in ((True, torch.float32), (False, torch.bfloat16), (True, torch.float32)):
            torch.set_autocast_enabled("cuda", enabled)
            assert compiled(x).dtype == dtype
    finally:
        torch.set_autocast_enabled("cuda", before)
