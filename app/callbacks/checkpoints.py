"""best.ckpt and last.ckpt of a run folder, and stopping early; both by the task's primary metric.

Lightning's ModelCheckpoint leaves last.ckpt at the newest *best* state when a metric is monitored; here it is the
newest state.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping
from pytorch_lightning.plugins.io import TorchCheckpointIO

from app.callbacks.steps import is_optimizer_step, validation_follows
from app.errors import InputError
from app.runs.atomic_write import atomic_write, report_write_errors
from app.runs.folder import CHECKPOINTS as FOLDER
from app.runs.folder import hardlink_or_copy, kept_weights, weights_name

log = logging.getLogger(__name__)


class StoppedError(RuntimeError):
    """A signal asked the run to stop; of a fit, the state is in last.ckpt."""

    def __init__(self, number: int, what_now: str = "go on with --ckpt_path last") -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; {what_now}")
        self.exit_status = 128 + number


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes each checkpoint straight to its disk, whole or not at all, and has it there before it takes its name.

    Lightning's own way writes it to memory, then to the system's folder for temporary files, and from there to its
    place; a disk that is full leaves halves behind in both.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write one.

        Raises:
            InputError: if it cannot be written.
        """
        assert storage_options is None, storage_options
        path = Path(path)
        with atomic_write(path) as part:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(part, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())


class RunCheckpoint(Checkpoint):
    """Writes `checkpoints/last.ckpt` at each validation and in between; `best.ckpt` when the score improves.

    SIGTERM and SIGINT end the run at its next update or validation, after last.ckpt was written.

    A file appears whole or not at all, by `AtomicCheckpointIO`. When a state is both best and last, best.ckpt is put
    in place first, so that a kill in between leaves a last.ckpt from which the same best.ckpt is reached again.

    Args:
        monitor: the score, e.g. val/accuracy.
        mode: whether more or less of it is better; the first of equal scores stays the best.
        every_n_steps: also write last.ckpt every so many updates; None for not.
        every_n_minutes: also write last.ckpt every so many minutes; None for not.
        keep_weights: also keep the weights alone of the last so many validations, for `--average_checkpoints`.
    """

    def __init__(
        self,
        monitor: str,
        mode: Literal["min", "max"],
        every_n_steps: int | None = None,
        every_n_minutes: float | None = None,
        keep_weights: int | None = None,
    ) -> None:
        self.monitor, self.mode = monitor, mode
        self.keep_weights = keep_weights
        self.every_n_steps, self.every_n_minutes = every_n_steps, every_n_minutes
        self.best_score: float | None = None
        self.best_step: int | None = None
        self._written_at = time.monotonic()
        self._signal: int | None = None
        self._former_handlers: dict[int, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        """The best score so far and its step."""
        return {"best_score": self.best_score, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the best score of the checkpoint."""
        self.best_score, self.best_step = state_dict["best_score"], state_dict["best_step"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, drop weights of later steps, and listen for the signals that ask a run to stop."""
        self._written_at = time.monotonic()
        if trainer.is_global_zero:
            for path in kept_weights(Path(trainer.default_root_dir) / FOLDER):
                if path.name > weights_name(trainer.global_step):  # of steps that this run makes again
                    path.unlink()
        if threading.current_thread() is threading.main_thread() and "SLURM_JOB_ID" not in os.environ:
            for number in (signal.SIGTERM, signal.SIGINT):  # under SLURM, Lightning's plugin saves and requeues
                self._former_handlers[number] = signal.signal(number, self._receive)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self._former_handlers.items():
            signal.signal(number, handler)
        self._former_handlers.clear()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write last.ckpt if it is time or the run is to stop; only where an update has just been made.

        Not where a validation or the end of an epoch follows: from there Lightning would go on without it, and the
        checkpoint of that validation is near.
        """
        if (
            trainer.should_stop
            or validation_follows(trainer, batch_idx)
            or not is_optimizer_step(trainer, batch_idx)
            or trainer.fast_dev_run
        ):
            return
        stopping = self._is_stopping(trainer)
        due = stopping or bool(self.every_n_steps) and trainer.global_step % self.every_n_steps == 0
        if self.every_n_minutes:
            is_time = time.monotonic() - self._written_at >= 60 * self.every_n_minutes
            due = due or trainer.strategy.broadcast(is_time)  # clocks differ between processes; the first one decides
        if due:
            self._write(trainer, is_best=False)
        if stopping:
            raise StoppedError(self._signal or signal.SIGTERM)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the score with the best and write."""
        if trainer.sanity_checking or trainer.state.fn != "fit" or trainer.fast_dev_run:
            return
        score = pl_module.scores.get(self.monitor)
        if score is None:
            raise InputError(
                f"the validation gave no {self.monitor}, by which the best checkpoint is chosen; let it score more "
                "examples: trainer.limit_val_batches, model.val_decoding.fraction"
            )
        is_best = self.best_score is None or (
            score > self.best_score if self.mode == "max" else score < self.best_score
        )
        if is_best:
            self.best_score, self.best_step = score, trainer.global_step
        if self.keep_weights:
            self._write_weights(trainer, self.keep_weights)
        self._write(trainer, is_best)
        if self._is_stopping(trainer):
            raise StoppedError(self._signal or signal.SIGTERM)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal; the run stops where its state can be saved exactly. A second one stops it at once."""
        if self._signal is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._signal = number
        log.info("%s: stopping after this step; once more stops at once", signal.Signals(number).name)

    def _is_stopping(self, trainer: Trainer) -> bool:
        """Whether any process was asked to stop: all must agree, for writing a checkpoint takes all of them."""
        asked = self._signal is not None
        return asked if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(asked, all=False)

    def _write_weights(self, trainer: Trainer, keep: int) -> None:
        """Add this validation's weights, then drop the oldest: at no moment are there too few of them.

        Before last.ckpt is: a run that is killed in between writes the same files again.
        """
        folder = Path(trainer.default_root_dir) / FOLDER
        # by all processes; ends in a barrier
        trainer.save_checkpoint(folder / weights_name(trainer.global_step), weights_only=True)
        if trainer.is_global_zero:
            for old in kept_weights(folder)[:-keep]:
                old.unlink()

    def _write(self, trainer: Trainer, is_best: bool) -> None:
        folder = Path(trainer.default_root_dir) / FOLDER
        fresh = folder / "last.ckpt.tmp"
        trainer.save_checkpoint(fresh)  # by all processes; ends in a barrier
        if trainer.is_global_zero:
            try:
                if is_best:
                    with atomic_write(folder / "best.ckpt") as part:
                        hardlink_or_copy(fresh, part)
                with report_write_errors(folder / "last.ckpt"):
                    os.replace(fresh, folder / "last.ckpt")
            finally:
                fresh.unlink(missing_ok=True)
        self._written_at = time.monotonic()


class StopEarly(EarlyStopping):
    """Ends training when the score has not improved for `patience` validations.

    Checked after each validation, before the checkpoint is written, so that a resumed run knows that it was over.
    """

    def __init__(self, monitor: str, mode: Literal["min", "max"], patience: int) -> None:
        super().__init__(monitor, mode=mode, patience=patience, check_finite=False, check_on_train_epoch_end=False)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop again if the run had stopped when its checkpoint was written."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience
