"""Label smoothing against torch's own."""

import pytest
import torch
import torch.nn.functional as F

from app.tasks.losses import smoothed_cross_entropy


def case(dtype=torch.float64, positions=23, classes=11):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(positions, classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, classes, (positions,), generator=generator)
    labels[::5] = -100
    return logits.to(dtype).requires_grad_(), labels


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_losses_and_gradient_are_torchs(smoothing):
    logits, labels = case()
    objective, nats = smoothed_cross_entropy(logits, labels, smoothing)
    expected = F.cross_entropy(logits, labels, reduction="sum", label_smoothing=smoothing)
    torch.testing.assert_close(objective, expected)
    torch.testing.assert_close(nats, F.cross_entropy(logits, labels, reduction="sum"))
    (gradient,) = torch.autograd.grad(2.5 * objective, logits)
    (expected_gradient,) = torch.autograd.grad(2.5 * expected, logits)
    torch.testing.assert_close(gradient, expected_gradient)
    assert not nats.requires_grad


def test_the_gradient_is_the_differences():
    logits, labels = case(positions=6, classes=4)
    assert torch.autograd.gradcheck(lambda x: smoothed_cross_entropy(x, labels, 0.1)[0], logits)


def test_half_precision_is_summed_in_float32():
    logits, labels = case(torch.bfloat16)
    objective, nats = smoothed_cross_entropy(logits, labels, 0.1)
    assert objective.dtype == nats.dtype == torch.float32
    torch.testing.assert_close(nats, F.cross_entropy(logits.float(), labels, reduction="sum"))
    (gradient,) = torch.autograd.grad(objective, logits)
    assert gradient.dtype == torch.bfloat16


def test_positions_that_count_nothing_get_no_gradient():
    logits, labels = case()
    (gradient,) = torch.autograd.grad(smoothed_cross_entropy(logits, labels, 0.1)[0], logits)
    assert torch.equal(gradient.abs().sum(1) == 0, labels == -100)
