"""ErrorContext: adds to an error that ends a command the batch it occurred at, and how to resume."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from app.errors.system_errors import is_out_of_memory
from app.runs.folder import CHECKPOINTS


class ErrorContext(Callback):
    """Adds notes to the exception; the error message ends with them.

    Args:
        training_size: the settings that determine the size of a training batch, with their values.
        evaluation_size: those of a batch of validation, test or predict.
    """

    def __init__(self, training_size: str, evaluation_size: str) -> None:
        self.training_size, self.evaluation_size = training_size, evaluation_size
        self._batch: tuple[str, Any] | None = None  # what it is for, and the batch itself
        self._has_begun = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that the run can be resumed from here on."""
        self._has_begun = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Remember the batch."""
        self._batch = ("training", batch)

    def on_train_batch_end(self, *_: Any) -> None:
        """Forget the batch."""
        self._batch = None

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, *_: Any) -> None:
        """Remember the batch."""
        self._batch = ("validation", batch)

    def on_test_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, *_: Any) -> None:
        """Remember the batch."""
        self._batch = ("test", batch)

    def on_predict_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, *_: Any) -> None:
        """Remember the batch."""
        self._batch = ("predict", batch)

    on_validation_batch_end = on_test_batch_end = on_predict_batch_end = on_train_batch_end

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Say where memory ran out, and where the run can be resumed from."""
        if is_out_of_memory(exception) and self._batch is not None:
            phase, batch = self._batch
            is_training = phase == "training"
            size = self.training_size if is_training else self.evaluation_size
            exception.add_note(
                f"at step {trainer.global_step}, in {phase}, on {_describe(batch)}; lower {size}"
                + (", which makes it another run" if is_training else "")
            )
        last = Path(trainer.default_root_dir) / CHECKPOINTS / "last.ckpt"
        if self._has_begun and last.is_file():
            exception.add_note(f"\nthe same command with --ckpt_path last then resumes from {last}")


def _describe(batch: Any) -> str:
    """The number of its examples and the shapes of its padded tensors."""
    shapes = {
        " x ".join(map(str, value.shape)): field.name
        for field in reversed(dataclasses.fields(batch))  # of several fields of the same shape, the first
        if isinstance(value := getattr(batch, field.name), torch.Tensor) and value.ndim > 1
    }
    padded = ", ".join(f"{name} {shape}" for shape, name in reversed(shapes.items()))
    return f"a batch of {len(batch.index)} examples ({padded})"
