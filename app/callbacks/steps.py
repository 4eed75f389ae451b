"""Where a run stands between two batches."""

from __future__ import annotations

from pytorch_lightning import Trainer


def made_update(trainer: Trainer, batch_idx: int) -> bool:
    """Whether this batch completed an update: the last of those accumulated, or of the epoch."""
    number = batch_idx + 1
    return number % trainer.accumulate_grad_batches == 0 or number == trainer.num_training_batches
