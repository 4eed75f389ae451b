"""What ends a fit besides its last step or epoch: patience, and a loss that is not finite."""

from __future__ import annotations

import math
from typing import Any, Literal

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping

from app.callbacks.scored_module import ScoredModule


class StopEarly(EarlyStopping):
    """Ends training when the score has not improved for `patience` validations.

    It is checked after each validation, before the checkpoint is written, so that a resumed run knows that it was over.
    """

    def __init__(self, monitor: str, mode: Literal["min", "max"], patience: int) -> None:
        super().__init__(monitor, mode=mode, patience=patience, check_finite=False, check_on_train_epoch_end=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume counting, with the patience of this call: Lightning would restore the former one."""
        super().load_state_dict({**state_dict, "patience": self.patience})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop again if the run had stopped when its checkpoint was written."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


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

    def on_validation_end(self, trainer: Trainer, pl_module: ScoredModule) -> None:
        """Check the validation loss."""
        if not math.isfinite(pl_module.scores.get("val/loss", 0.0)) and not trainer.sanity_checking:
            raise DivergedError(trainer.global_step, "val/loss")
