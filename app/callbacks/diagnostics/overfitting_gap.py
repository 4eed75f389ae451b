"""OverfittingGap: how much better the model does on what it was trained on than on what it was not.

Train and validation loss are compared like with like: the train probe is a fixed subset of the training set, as large
as the validation set, scored in eval mode, without dropout and label smoothing.

Keys written at each validation: `gap/<metric>`, positive when training examples score better: validation minus train
for a loss, train minus validation for an accuracy. A metric that was not declared (app.metrics.MetricInfo) has no
direction, and so no gap. `rise/loss`, `rise/loss_se` and `rise/loss_p`: how far validation loss is above its minimum so
far, with standard error and p value over the validation examples; see `overfitting_statistics.rise_since`. A run that
begins to overfit says so once, in words; see `overfitting_statistics.onset`.

In result.json: `gap`, see `overfitting_statistics.overfitting_summary`. Plot: curves.svg.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from app.callbacks.diagnostics.overfitting_statistics import gaps, onset, overfitting_summary, rise_since
from app.callbacks.scored_module import ScoredModule
from app.figures import draw_curves
from app.metrics import ExampleCounts, MetricInfo
from app.runs.metrics_file import Event, log_event

log = logging.getLogger(__name__)


class OverfittingGap(Callback):
    """Records the gap at each validation, and says when validation loss has turned up while train loss falls.

    Args:
        twin_axes: draw validation on an axis of its own, as the paper's figures do.
    """

    def __init__(self, twin_axes: bool = False) -> None:
        self._twin_axes = twin_axes
        self._validations: list[Event] = []
        self._best_nats: Tensor | None = None  # (N,) float64, of each example at the lowest validation loss
        self._said = False
        self._metrics: Sequence[MetricInfo] = ()
        self._steps_per_epoch = 1

    def state_dict(self) -> dict[str, Any]:
        """The losses so far, those of the examples at the best one, and whether it was said that the run overfits."""
        return {"validations": self._validations, "best_nats": self._best_nats, "said": self._said}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from them."""
        self._validations, self._said = list(state_dict["validations"]), state_dict["said"]
        self._best_nats = state_dict.get("best_nats")  # early checkpoints have none

    def on_train_start(self, trainer: Trainer, pl_module: ScoredModule) -> None:
        """Take down what the summary and the plot need."""
        self._metrics = pl_module.metrics
        self._steps_per_epoch = -(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches)

    def on_validation_end(self, trainer: Trainer, pl_module: ScoredModule) -> None:
        """Compare the scores that the task has just computed."""
        if trainer.sanity_checking:
            return
        found = gaps(pl_module.scores)
        if trainer.state.fn == "fit":
            losses = {key: pl_module.scores.get(key) for key in ("val/loss", "train_probe/loss")}
            rise = self._rise(losses["val/loss"], pl_module.examples.get("val", {}))
            found |= rise
            place = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
            self._validations.append({**place, **losses, **rise})
            self._say(trainer)
        if found:
            log_event(trainer, found)

    def summary(self, events: Sequence[Event], result: dict[str, Any]) -> dict[str, Any]:
        """The gap and its development, for result.json."""
        best_step = result["best"]["step"] if result["best"] else None
        return {"gap": overfitting_summary(events, self._metrics, best_step, self._steps_per_epoch)}

    def draw(self, events: Sequence[Event], result: dict[str, Any], folder: Path) -> None:
        """Draw train, validation and the gap by epoch, the best checkpoint and the onset of overfitting marked."""
        best_step = result["best"]["step"] if result["best"] else None
        path = folder / "curves.svg"
        began = result["gap"]["onset"]["loss"]
        since = began["step"] if began else None
        draw_curves(events, self._metrics, result["signature"], path, self._twin_axes, best_step, since)

    def _rise(self, loss: float | None, examples: ExampleCounts) -> dict[str, float]:
        """Compare a validation with the best one so far, which it may become."""
        if loss is None or "nats" not in examples:
            return {}
        nats = torch.from_numpy(examples["nats"])
        earlier = [event["val/loss"] for event in self._validations if event["val/loss"] is not None]
        if not earlier or loss < min(earlier):
            self._best_nats = nats
        if self._best_nats is None or len(self._best_nats) != len(nats):  # of an earlier version, of other examples
            return {}
        return rise_since(self._best_nats.numpy(), examples["nats"], examples["units"])

    def _say(self, trainer: Trainer) -> None:
        began = None if self._said else onset(self._validations)
        if began is None:
            return
        self._said = True
        if trainer.is_global_zero:
            log.info(
                "overfitting since step %d (epoch %d): validation loss %.4f is %.4f above its minimum, at step %d "
                "(epoch %d; the standard error is %.4f), while train loss fell from %.4f to %.4f",
                began["step"],
                began["epoch"],
                began["value"],
                began["value"] - began["best_value"],
                began["best_step"],
                began["best_epoch"],
                began["standard_error"],
                began["train_loss_then"],
                began["train_loss"],
            )
