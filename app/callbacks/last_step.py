"""ValidateLastStep: a run that --trainer.max_steps ends within an epoch is validated at its last step."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class ValidateLastStep(Callback):
    """Asks Lightning to stop after the last step, which it does with a validation; by itself it would just end."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check whether this was the last step."""
        if 0 < trainer.max_steps <= trainer.global_step:
            trainer.should_stop = True
