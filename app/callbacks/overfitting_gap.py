"""OverfittingGap: how much better the model does on what it was trained on than on what it was not.

Train and validation loss are compared like with like: the train probe is a fixed part of the training set, as large as
the validation set, scored in eval mode, without dropout and label smoothing.

Keys written at each validation: `gap/<metric>`, positive when training examples score better: validation minus train
for a loss, train minus validation for an accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from app.callbacks.metrics_file import Event, log_event

LOWER_IS_BETTER = ("loss", "bpc", "perplexity")


def gaps(scores: dict[str, float]) -> dict[str, float]:
    """`gap/<metric>` for every metric that was scored on both the validation set and the train probe."""
    found = {}
    for key, validation in scores.items():
        part, _, metric = key.partition("/")
        train = scores.get(f"train_probe/{metric}")
        if part == "val" and train is not None and validation is not None:
            found[f"gap/{metric}"] = validation - train if metric in LOWER_IS_BETTER else train - validation
    return found


def overfitting_summary(events: Sequence[Event], best_step: int | None) -> dict[str, Any]:
    """What a run's validations say of over-fitting.

    Args:
        events: events of a run in order; those without validation scores are passed over.
        best_step: step of the best checkpoint.

    Returns:
        `best` and `final`: the gaps there, by metric; `turned_epoch`: the epoch of the lowest validation loss, if that
        loss rose afterwards while the train loss fell, else None; `rise_nats`: how far validation loss stands above
        its minimum at the end.
    """
    validations = [event for event in events if event.get("val/loss") is not None]
    by_step = {event["step"]: event for event in validations}
    summary: dict[str, Any] = {"best": {}, "final": {}, "turned_epoch": None, "rise_nats": 0.0}
    if not validations:
        return summary
    last = validations[-1]
    lowest = min(validations, key=lambda event: event["val/loss"])
    train_now, train_then = last.get("train_probe/loss"), lowest.get("train_probe/loss")
    summary["best"] = _by_metric(by_step.get(best_step, {}))
    summary["final"] = _by_metric(last)
    summary["rise_nats"] = last["val/loss"] - lowest["val/loss"]
    if summary["rise_nats"] > 0 and train_now is not None and train_then is not None and train_now < train_then:
        summary["turned_epoch"] = lowest["epoch"]
    return summary


class OverfittingGap(Callback):
    """Records the gap at each validation."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the scores that the task has just computed."""
        found = gaps(pl_module.scores)
        if found and not trainer.sanity_checking:
            log_event(trainer, found)


def _by_metric(event: Event) -> dict[str, float]:
    return {key.removeprefix("gap/"): value for key, value in event.items() if key.startswith("gap/")}
