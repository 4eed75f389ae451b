"""The losses that several tasks share."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from app.batches import Batch


class _SmoothedCrossEntropy(torch.autograd.Function):
    """Computes both losses from one log softmax, which is all that is saved for the backward pass.

    With a vocabulary of thousands each pass over the logits counts: torch's cross_entropy with label smoothing makes
    about twice as many, and the loss without smoothing would need another forward pass.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
        log_p = logits.float().log_softmax(-1) if logits.dtype.itemsize < 4 else logits.log_softmax(-1)  # (N, V)
        counts = labels != Batch.IGNORED  # (N,)
        safe = labels.where(counts, 0).unsqueeze(1)  # (N, 1)
        nats = -(log_p.gather(1, safe).squeeze(1) * counts).sum()
        spread = -(log_p.mean(-1) * counts).sum() if smoothing else torch.zeros_like(nats)
        ctx.save_for_backward(log_p, safe, counts)
        ctx.smoothing, ctx.dtype = smoothing, logits.dtype
        ctx.mark_non_differentiable(nats)
        return (1 - smoothing) * nats + smoothing * spread, nats

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        log_p, labels, counts = ctx.saved_tensors
        scale = (gradient * counts).to(log_p.dtype).unsqueeze(1)  # (N, 1), 0 where a position counts nothing
        wanted = log_p.exp()  # softmax minus the smoothed target
        if ctx.smoothing:
            wanted -= ctx.smoothing / log_p.shape[1]
        wanted.scatter_add_(1, labels, torch.full_like(scale, ctx.smoothing - 1))
        return wanted.mul_(scale).to(ctx.dtype), None, None


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """Compute the cross-entropy with label smoothing, and without, from the same logits.

    The smoothed one is (1 - smoothing) * nll + smoothing * mean over classes of -log p (Szegedy et al., 2016), as in
    torch.

    Args:
        logits: (N, V), of any floating type; both losses are at least float32.
        labels: (N,) int64; -100 where a position counts nothing.
        smoothing: share of the target that is spread over all classes.

    Returns:
        Both as sums over the N positions, in nats; only the first has a gradient.
    """
    objective, nats = _SmoothedCrossEntropy.apply(logits, labels, smoothing)
    return objective, nats


def nats(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the cross-entropy for an evaluation, float64: their sum must not depend on the cut into batches.

    Args:
        logits: (..., V), of any floating type; computed in float32 at least.
        labels: (...) int64; -100 where a position counts nothing, and has 0 nats.

    Returns:
        (...), the nats of each position.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    flat = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none")
    return flat.double().view(labels.shape)


def perplexity(loss_nats: float) -> float:
    """Return e to the loss, capped at e ** 700: a float overflows at e ** 710."""
    return math.exp(min(loss_nats, 700.0))
