"""StopWhenDiverged: ends a run at the first step whose loss is not finite."""

from __future__ import annotations

import math
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class DivergedError(RuntimeError):
    """The loss is nan or infinite; `step` is the number of updates made before it."""

    def __init__(self, step: int, what: str) -> None:
        super().__init__(f"diverged: {what} is not finite at step {step}")
        self.step = step


class StopWhenDiverged(Callback):
    """Raises DivergedError on all processes as soon as a training or validation loss is not finite."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check the training loss."""
        finite = math.isfinite(outputs["loss"])
        if trainer.world_size > 1:
            finite = trainer.strategy.reduce_boolean_decision(finite, all=True)
        if not finite:
            raise DivergedError(trainer.global_step, "train/loss")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the validation loss."""
        if not math.isfinite(pl_module.scores.get("val/loss", 0.0)) and not trainer.sanity_checking:
            raise DivergedError(trainer.global_step, "val/loss")
