"""StopEarly: the end of a fit that no longer improves."""

from __future__ import annotations

from typing import Literal

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping


class StopEarly(EarlyStopping):
    """Ends training when the score has not improved for `patience` validations.

    It is checked after each validation, before the checkpoint is written, so that a resumed run knows that it was over.
    """

    def __init__(self, monitor: str, mode: Literal["min", "max"], patience: int) -> None:
        super().__init__(monitor, mode=mode, patience=patience, check_finite=False, check_on_train_epoch_end=False)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop again if the run had stopped when its checkpoint was written."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience
