"""A score that is one sum divided by another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.metric import jit_distributed_available
from torchmetrics.utilities.distributed import gather_all_tensors


class Ratio(Metric):
    """The sum of numerators over the sum of denominators, of all batches and processes.

    The sums are float64 and int64, so the score does not depend on the batch size or the number of processes.
    """

    full_state_update = False
    numerator: Tensor  # () float64: nats, or correct predictions
    denominator: Tensor  # () int64: loss units, or predictions

    def __init__(self) -> None:
        super().__init__()
        self.add_state("numerator", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("denominator", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, numerator: Tensor, denominator: Tensor | int) -> None:
        """Add a batch's sums; `numerator` is a scalar tensor of any dtype."""
        self.numerator += numerator.detach()
        self.denominator += denominator

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> nn.Module:
        """Follow the model to another device, and not to another dtype: a sum in bfloat16 stops to count at 256."""
        return super()._apply(lambda tensor: tensor.to(fn(tensor).device), *args, **kwargs)

    def total(self) -> tuple[float, int]:
        """Return both sums over all processes; call it on all of them."""
        with self.sync_context(dist_sync_fn=gather_all_tensors, should_sync=jit_distributed_available()):
            return float(self.numerator), int(self.denominator)

    def restore(self, numerator: float, denominator: int) -> None:
        """Resume from earlier sums."""
        self.reset()
        self.update(torch.tensor(numerator, dtype=torch.float64), denominator)

    def compute(self) -> Tensor:
        """Return the quotient, () float64; nan if nothing was counted."""
        return self.numerator / self.denominator
