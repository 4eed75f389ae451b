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


def check_user_callbacks(users: Sequence[Callback]) -> None:
    """Refuse callbacks of Lightning that change what an update is.

    Args:
        users: those of `trainer.callbacks`.

    Raises:
        InputError: naming the callback, why it is refused, and what to use.
    """
    for callback in users:
        for refused, (why, remedy) in REFUSED.items():
            if isinstance(callback, refused):
                raise InputError(
                    f"trainer.callbacks has {type(callback).__name__}, which cannot be honoured: {why}; {remedy}"
                )
