"""ValidateLastStep: a run that --trainer.max_steps ends within an epoch is validated there, and so has scores."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class ValidateLastStep(Callback):
    """Asks Lightning to stop behind the last step, which it does by way of a validation; by itself it just ends."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look whether this was the last step."""
        if 0 < trainer.max_steps <= trainer.global_step:
            trainer.should_stop = True
