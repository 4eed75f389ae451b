"""What a watch sees of a norm, and that nothing else changes for it."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from app.callbacks.diagnostics.norm_hooks import NormHooks
from app.norms import build_norm, norm_names


class Residual(nn.Module):
    """x -> relu(norm(x)) W + x: the norm's input has a second use, and its output is overwritten in place."""

    def __init__(self, name, size=6):
        super().__init__()
        self.norm = build_norm(name, size)
        self.linear = nn.Linear(size, size)

    def forward(self, x):
        return self.linear(torch.relu_(self.norm(x))) + x


def seen(model, x, weight, forward=None):
    norm_calls = []
    watch = NormHooks({"norm": model.norm}, norm_calls.append)
    watch.start()
    ((forward or model)(x) * weight).sum().backward()
    watch.stop()
    return norm_calls


@pytest.fixture
def tensors():
    torch.manual_seed(0)
    return torch.randn(2, 3, 6, requires_grad=True), torch.randn(2, 3, 6)


@pytest.mark.parametrize("name", norm_names())
def test_it_sees_the_gradients_of_the_norm_alone(name, tensors):
    if name == "none":
        pytest.skip("its output is its input, which a ReLU in place would overwrite")
    torch.manual_seed(1)
    model, (x, weight) = Residual(name), tensors
    (norm_call,) = seen(model, x, weight)
    given = x.detach().clone().requires_grad_()
    y = model.norm(given)
    dy = (weight @ model.linear.weight) * (y > 0)
    (dx,) = torch.autograd.grad(y, given, dy)
    for found, expected in ((norm_call.x, given), (norm_call.dy, dy), (norm_call.dx, dx)):
        torch.testing.assert_close(found, expected.detach().reshape(-1, 6))


def test_a_norm_that_gives_out_its_input(tensors):
    norm, (x, weight) = build_norm("none", 6), tensors
    norm_calls = []
    watch = NormHooks({"none": norm}, norm_calls.append)
    watch.start()
    (norm(x) * weight).sum().backward()
    assert torch.equal(norm_calls[0].dy, weight.reshape(-1, 6)) and torch.equal(norm_calls[0].dx, weight.reshape(-1, 6))


@pytest.mark.parametrize("name", ["layernorm", "adanorm", "detachnorm"])
def test_watching_changes_no_bit(name, tensors):
    x, weight = tensors
    gradients = []
    for watched in (False, True):
        torch.manual_seed(1)
        model, fresh = Residual(name), x.detach().clone().requires_grad_()
        if watched:
            seen(model, fresh, weight)
        else:
            (model(fresh) * weight).sum().backward()
        gradients.append([fresh.grad, *(parameter.grad for parameter in model.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_tokens_without_a_gradient_are_left_out(tensors):
    x, weight = tensors
    weight[0, 1] = 0
    (norm_call,) = seen(Residual("layernorm"), x, weight)
    assert len(norm_call.x) == len(norm_call.dy) == len(norm_call.dx) == 5
    assert torch.equal(norm_call.x[1], x.detach()[0, 2])


def test_each_use_of_a_shared_norm_is_a_passage(tensors):
    model, (x, weight) = Residual("layernorm"), tensors
    assert len(seen(model, x, weight, forward=lambda x: model(model(x)))) == 2


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_makes_one_passage(reentrant, tensors):
    model, (x, weight) = Residual("layernorm"), tensors
    (plain,) = seen(model, x, weight)
    (norm_call,) = seen(model, x, weight, lambda x: checkpoint(model, x, use_reentrant=reentrant))
    assert torch.equal(norm_call.dy, plain.dy) and torch.equal(norm_call.dx, plain.dx)


def test_a_norm_may_be_called_by_name(tensors):
    model, (x, weight) = Residual("layernorm"), tensors
    (plain,) = seen(model, x, weight)
    (named,) = seen(model, x, weight, lambda x: model.linear(torch.relu_(model.norm(x=x))) + x)
    assert torch.equal(plain.dx, named.dx)


def test_an_input_that_was_overwritten_is_not_measured(tensors):
    norm, (x, weight), norm_calls = build_norm("detachnorm", 6), tensors, []
    watch = NormHooks({"norm": norm}, norm_calls.append)
    watch.start()
    h = x * 1.0
    y = norm(h)
    h += 1
    ((y + h) * weight).sum().backward()
    assert norm_calls == []


def test_norms_over_several_dimensions_are_one_row(tensors):
    norm, norm_calls = build_norm("layernorm_simple", (3, 6)), []
    watch = NormHooks({"norm": norm}, norm_calls.append)
    watch.start()
    (norm(tensors[0]) * tensors[1]).sum().backward()
    assert norm_calls[0].x.shape == (2, 18)


def test_nothing_is_seen_without_gradients_or_when_it_is_off(tensors):
    model, (x, weight) = Residual("layernorm"), tensors
    norm_calls = []
    watch = NormHooks({"norm": model.norm}, norm_calls.append)
    watch.start()
    with torch.no_grad():
        model(x)
    loss = (model(x) * weight).sum()
    watch.stop()
    loss.backward()
    assert norm_calls == [] and not watch.is_on
    assert not model.norm._forward_hooks and not model.norm._forward_pre_hooks
