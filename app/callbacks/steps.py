"""Where a run is between two batches: whether an update was made, what comes next, how much time is left."""

from __future__ import annotations

import math
import time

from pytorch_lightning import Trainer


def is_optimizer_step(trainer: Trainer, batch_idx: int) -> bool:
    """Whether this batch completed an update: the last of those accumulated, or of the epoch."""
    number = batch_idx + 1
    return number % trainer.accumulate_grad_batches == 0 or number == trainer.num_training_batches


def ends_after(trainer: Trainer, batch_idx: int) -> bool:
    """Whether training ends after this batch: by its number of steps or of epochs, or because it is told to stop."""
    last_epoch = trainer.max_epochs is not None and 0 < trainer.max_epochs <= trainer.current_epoch + 1
    return (
        0 < trainer.max_steps <= trainer.global_step
        or (last_epoch and batch_idx + 1 == trainer.num_training_batches)
        or is_told_to_stop(trainer)
    )


def force_validation(trainer: Trainer) -> tuple[int | None, int | float | None]:
    """Make Lightning validate after this batch, whatever the schedule of validations is; returns that schedule."""
    schedule = trainer.check_val_every_n_epoch, trainer.val_check_batch
    trainer.check_val_every_n_epoch, trainer.val_check_batch = 1, 1
    return schedule


def is_told_to_stop(trainer: Trainer) -> bool:
    """Whether a callback has told the trainer to stop, as that of max_time does, and min_epochs lets it."""
    return trainer.should_stop and trainer.fit_loop._can_stop_early


def validation_follows(trainer: Trainer, batch_idx: int) -> bool:
    """Whether the epoch ends after this batch, or a validation within the epoch is due there."""
    number = batch_idx + 1
    if number == trainer.num_training_batches:
        return True
    every = trainer.val_check_batch
    if every is None or math.isinf(every):
        return False
    if trainer.check_val_every_n_epoch is None:  # then the batches of all epochs are counted together
        number = trainer.fit_loop.total_batch_idx + 1
    return number % int(every) == 0


class TimeLeft:
    """Estimates the seconds to the last step or epoch, at the speed since `start`."""

    def __init__(self) -> None:
        self._started_at = 0.0
        self._first_batch = 0

    def start(self, trainer: Trainer) -> None:
        """Begin to measure: training starts or resumes here."""
        self._started_at, self._first_batch = time.monotonic(), _batches_done(trainer)

    def seconds(self, trainer: Trainer) -> float | None:
        """The estimate; None where neither steps nor epochs end the run."""
        done = _batches_done(trainer)
        if trainer.max_steps > 0:
            left = (trainer.max_steps - trainer.global_step) * trainer.accumulate_grad_batches
        elif trainer.max_epochs and trainer.max_epochs > 0:
            left = trainer.max_epochs * int(trainer.num_training_batches) - done
        else:
            return None
        return (time.monotonic() - self._started_at) / max(1, done - self._first_batch) * max(0, left)


def _batches_done(trainer: Trainer) -> int:
    return trainer.fit_loop.epoch_loop.batch_progress.total.completed
