"""Where a run stands between two batches."""

from __future__ import annotations

import math

from pytorch_lightning import Trainer


def is_optimizer_step(trainer: Trainer, batch_idx: int) -> bool:
    """Whether this batch completed an update: the last of those accumulated, or of the epoch."""
    number = batch_idx + 1
    return number % trainer.accumulate_grad_batches == 0 or number == trainer.num_training_batches


def validation_follows(trainer: Trainer, batch_idx: int) -> bool:
    """Whether the epoch ends behind this batch, or a validation within the epoch is due there."""
    number = batch_idx + 1
    if number == trainer.num_training_batches:
        return True
    every = trainer.val_check_batch
    if every is None or math.isinf(every):
        return False
    if trainer.check_val_every_n_epoch is None:  # then the batches of all epochs are counted together
        number = trainer.fit_loop.total_batch_idx + 1
    return number % int(every) == 0
