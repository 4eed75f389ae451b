"""Masks against what probability says of them, and against torch's own before and after a fit."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from app.callbacks import DivergedError, DropoutMasks, Reseed
from app.callbacks.fast_dropout_masks import draw_bernoulli
from tests.exactness.cases import CASES


@pytest.fixture
def registered():
    """The kernel in torch's place, as during a fit."""
    masks = DropoutMasks()
    masks.on_fit_start(None, None)
    yield
    masks.teardown(None, None, "fit")


def own():
    """What torch's own kernel draws from a seed."""
    return torch.empty(1000).bernoulli_(0.5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("p", [1e-3, 0.1, 0.5, 0.9, 0.999])
def test_ones_are_as_frequent_as_they_are_probable_and_neighbours_do_not_know_of_each_other(p):
    n = 2**20
    mask = draw_bernoulli(torch.empty(n), p, generator=torch.Generator().manual_seed(1))
    assert set(mask.tolist()) == {0.0, 1.0}
    sd = math.sqrt(p * (1 - p) / n)
    assert abs(mask.mean() - p) < 4 * sd + 2**-16
    z = (mask.double() - p) / math.sqrt(p * (1 - p))
    for distance in (1, 2, 3, 4, 8, 1024):  # four elements come from one number
        assert abs((z[distance:] * z[:-distance]).mean()) < 4.5 / math.sqrt(n)


@pytest.mark.parametrize("p", [0.0, 1.0, 1e-9, 1 - 1e-9])
def test_what_is_next_to_certain_is_certain(p):
    assert (draw_bernoulli(torch.empty(1000), p) == round(p)).all()


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_what_is_no_probability_is_refused_as_torch_refuses_it(p):
    with pytest.raises(RuntimeError, match="p to be in"):
        torch.empty(3).bernoulli_(p)
    with pytest.raises(RuntimeError, match="p to be in"):
        draw_bernoulli(torch.empty(3), p)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.bool])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (5,), (3, 7, 2)])
def test_every_shape_and_dtype_has_the_same_mask(shape, dtype):
    def draw(t):
        return draw_bernoulli(t, 0.4, generator=torch.Generator().manual_seed(2))

    mask = draw(torch.empty(shape, dtype=dtype))
    assert mask.shape == shape and mask.dtype == dtype
    assert torch.equal(mask.float(), draw(torch.empty(shape)))


def test_a_transposed_tensor_is_filled_whole():
    transposed = torch.full((64, 32), -1.0).t()
    draw_bernoulli(transposed, 0.5)
    assert ((transposed == 0) | (transposed == 1)).all() and 0.4 < transposed.mean() < 0.6


def test_the_generator_says_what_is_drawn():
    torch.manual_seed(3)
    first, second = draw_bernoulli(torch.empty(99), 0.5), draw_bernoulli(torch.empty(99), 0.5)
    torch.manual_seed(3)
    assert torch.equal(first, draw_bernoulli(torch.empty(99), 0.5)) and not torch.equal(first, second)


def attention(x):
    """Weights of one over the tokens, so that each output says how many of them were kept."""
    return F.scaled_dot_product_attention(torch.zeros_like(x), torch.zeros_like(x), torch.ones_like(x), dropout_p=0.25)


@pytest.mark.parametrize(
    "draws", [nn.Dropout(0.25), lambda x: F.dropout(x, 0.25), attention], ids=["module", "function", "attention"]
)
def test_dropout_is_drawn_by_it_wherever_it_stands(registered, draws):
    x = torch.ones(1, 1, 64, 64, requires_grad=True)
    torch.manual_seed(4)
    kept = draw_bernoulli(torch.empty(1, 1, 64, 64), 0.75) / 0.75
    expected = kept.mean(-1, keepdim=True).expand_as(x) if draws is attention else kept
    torch.manual_seed(4)
    torch.testing.assert_close(draws(x), expected)


@pytest.mark.parametrize("fails", [False, True])
def test_a_fit_draws_by_it_and_leaves_torch_as_it_was(train, tiny_texts, monkeypatch, fails):
    before, during, case = own(), [], CASES["classification"]

    def look(callback, trainer, *_):
        during.append(own())
        if fails:
            raise DivergedError(trainer.global_step, "train/loss")

    monkeypatch.setattr(Reseed, "on_train_batch_start", look)
    status = train("fit", case.config, *case.arguments(tiny_texts), "--trainer.max_steps=1")
    assert status == (4 if fails else 0)
    drawn = draw_bernoulli(torch.empty(1000), 0.5, generator=torch.Generator().manual_seed(0))
    assert len(during) == 1 and torch.equal(during[0], drawn) and not torch.equal(drawn, before)
    assert torch.equal(before, own())
