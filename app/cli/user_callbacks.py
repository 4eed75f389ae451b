"""The user's own callbacks: those under which an update or a checkpoint is not what it says are refused.

The table for users is in docs/lightning.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytorch_lightning import Callback
from pytorch_lightning.callbacks import (
    BaseFinetuning,
    BatchSizeFinder,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelPruning,
    OnExceptionCheckpoint,
    StochasticWeightAveraging,
    Timer,
    WeightAveraging,
)

from app.errors import InputError
from app.errors.did_you_mean import did_you_mean
from app.metrics import metric_info

REFUSED: dict[type[Callback], tuple[str, str]] = {  # with their subclasses: why, and the remedy
    GradientAccumulationScheduler: (
        "the loss is divided by the examples of a fixed number of batches",
        "use trainer.accumulate_grad_batches",
    ),
    StochasticWeightAveraging: (
        "it replaces the learning rate's schedule, and its average is in no checkpoint",
        "use --average_checkpoints",
    ),
    WeightAveraging: ("checkpoints would hold other weights than those that train", "use --average_checkpoints"),
    LearningRateFinder: ("it trains before the run begins", "set model.optimizer.lr, or compare several in a study"),
    BatchSizeFinder: ("the batch plan is made before the run begins", "set data.batch_tokens or data.batch_size"),
    BaseFinetuning: ("the optimizer and its schedule are made for all parameters at the beginning", "remove it"),
    OnExceptionCheckpoint: ("with it, a new run resumes from an earlier one", "use --checkpoint_every_steps"),
    Timer: ("config.yaml cannot hold its interval", "use trainer.max_time"),
    ModelPruning: ("it renames parameters, and no checkpoint could be loaded again", "remove it"),
}


def check_user_callbacks(users: Sequence[Callback], score_names: Sequence[str]) -> None:
    """Refuse callbacks of Lightning that change what an update is, and those that monitor what there is not.

    Args:
        users: those of `trainer.callbacks`.
        score_names: what validations will log, such as val/loss.

    Raises:
        InputError: naming the callback, why it is refused, and what to use.
    """
    _check_monitors(users, score_names)
    for callback in users:
        for refused, (why, remedy) in REFUSED.items():
            if isinstance(callback, refused):
                raise InputError(
                    f"trainer.callbacks has {type(callback).__name__}, which cannot be honoured: {why}; {remedy}"
                )


def _check_monitors(users: Sequence[Callback], score_names: Sequence[str]) -> None:
    """Refuse a score to monitor that no validation logs, which would fail after the first, or in the wrong direction.

    Callbacks of the user's own may log any name themselves.
    """
    if any(type(callback).__module__.partition(".")[0] not in ("pytorch_lightning", "app") for callback in users):
        return
    for callback in users:
        monitor = getattr(callback, "monitor", None)
        if monitor is None:
            continue
        named = f"trainer.callbacks has {type(callback).__name__}"
        if monitor not in score_names:
            raise InputError(
                f"{named} with monitor {monitor!r}, which is not logged{did_you_mean(monitor, score_names)} "
                f"allowed: {', '.join(score_names)}"
            )
        metric, mode = metric_info(monitor.partition("/")[2]), getattr(callback, "mode", None)
        if metric is not None and mode != metric.mode:
            raise InputError(
                f"{named} with monitor {monitor!r} and mode {mode!r}, whose best value would then be its worst; set "
                f"mode to {metric.mode}"
            )
