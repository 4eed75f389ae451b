"""OverfittingGap: how much better the model does on what it was trained on than on what it was not.

Train and validation loss are compared like with like: the train probe is a fixed part of the training set, as large as
the validation set, scored in eval mode, without dropout and label smoothing.

Keys written at each validation: `gap/<metric>`, positive when training examples score better: validation minus train
for a loss, train minus validation for an accuracy. A run that begins to over-fit says so once, in words; what counts as
that is in `overfitting.onset`.
"""

from __future__ import annotations

import logging
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from app.callbacks.diagnostics.overfitting import gaps, onset
from app.runs.metrics_file import Event, log_event

log = logging.getLogger(__name__)


class OverfittingGap(Callback):
    """Records the gap at each validation, and says when validation loss has turned up while train loss falls."""

    def __init__(self) -> None:
        self._validations: list[Event] = []
        self._said = False

    def state_dict(self) -> dict[str, Any]:
        """The losses so far, and whether it was said that the run over-fits."""
        return {"validations": self._validations, "said": self._said}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from them."""
        self._validations, self._said = list(state_dict["validations"]), state_dict["said"]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the scores that the task has just computed."""
        if trainer.sanity_checking:
            return
        found = gaps(pl_module.scores)
        if found:
            log_event(trainer, found)
        if trainer.state.fn == "fit":
            losses = {key: pl_module.scores.get(key) for key in ("val/loss", "train_probe/loss")}
            self._validations.append({"epoch": trainer.current_epoch + 1, "step": trainer.global_step, **losses})
            self._say(trainer)

    def _say(self, trainer: Trainer) -> None:
        began = None if self._said else onset(self._validations, "loss")
        if began is None:
            return
        self._said = True
        if trainer.is_global_zero:
            log.info(
                "over-fitting since epoch %d: validation loss %.4f was %.4f above its lowest, that of epoch %d (the "
                "standard deviation of its noise is %.4f), while train loss had fallen from %.4f to %.4f",
                began["epoch"],
                began["value"],
                began["value"] - began["best_value"],
                began["best_epoch"],
                began["noise"],
                began["train_loss_then"],
                began["train_loss"],
            )
