"""best.ckpt and last.ckpt of a run folder, by the task's primary metric.

Lightning's ModelCheckpoint leaves last.ckpt at the newest *best* state when a metric is monitored; here it is the
newest state.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from app.callbacks.scored_module import ScoredModule
from app.callbacks.steps import ends_after, force_validation, is_optimizer_step, is_told_to_stop, validation_follows
from app.errors import InputError
from app.errors.stop_signals import StopSignals
from app.runs.atomic_write import atomic_write, report_write_errors
from app.runs.folder import CHECKPOINTS, hardlink_or_copy, kept_weights, weights_name


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes each checkpoint straight to its disk, whole or not at all, and has it there before it takes its name.

    Lightning's own way writes it to memory, then to the system's folder for temporary files, and from there to its
    place; a full disk leaves halves in both.
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

    However a fit ends, its last step is validated, so nothing that was trained is missing in last.ckpt. A fit that is
    told to stop between the batches of an accumulated update completes it.

    SIGTERM and SIGINT end the run after its next update, or within a validation, with a last.ckpt of that step. When a
    state is both best and last, best.ckpt is put in place first, so that a kill in between leaves a last.ckpt from
    which the same best.ckpt is reached again.

    Args:
        monitor: the score, e.g. val/accuracy.
        mode: whether more or less of it is better; the first of equal scores stays the best.
        every_n_steps: updates from one last.ckpt to the next, besides those of validations; None for none.
        every_n_minutes: minutes, likewise.
        keep_weights: validations whose weights alone are kept too, the last ones, for `--average_checkpoints`.

    Attributes:
        best_model_path, last_model_path: paths of the two files, as Lightning's ModelCheckpoint has them; empty until
            they are written.
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
        self.best_model_path = self.last_model_path = ""
        self._written_at = time.monotonic()
        self._validated_step = -1
        self._stops_at_update = self._is_cutting = False
        self._schedule: tuple[int | None, int | float | None] | None = None
        self._signals = StopSignals("in training; resume with --ckpt_path last", deferred=True)

    def state_dict(self) -> dict[str, Any]:
        """The best score so far and its step."""
        return {"best_score": self.best_score, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from the best score of the checkpoint."""
        self.best_score, self.best_step = state_dict["best_score"], state_dict["best_step"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Name the files of a run that is resumed."""
        best, last = (_folder(trainer) / f"{name}.ckpt" for name in ("best", "last"))
        self.best_model_path, self.last_model_path = (str(path) if path.is_file() else "" for path in (best, last))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, drop weights of later steps, and listen for the signals that ask a run to stop."""
        self._written_at = time.monotonic()
        if trainer.is_global_zero:
            for path in kept_weights(_folder(trainer)):
                if path.name > weights_name(trainer.global_step):  # of steps that this run makes again
                    path.unlink()
        epoch = trainer.fit_loop.epoch_loop
        if epoch.restarting and epoch.batch_progress.current.ready >= trainer.num_training_batches:
            # of the end of an epoch, whose validation Lightning knows to be done only where its schedule has one
            self._schedule = force_validation(trainer)
        self._signals.listen()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on a signal ends the fit where it is: plots and the result can be made again."""
        if self._is_stopping(trainer):
            raise self._signals.error()
        self._signals.rest = "after training, before the result was complete; resume with --ckpt_path last"
        self._signals.deferred = False

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the signals back."""
        self._signals.restore()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write last.ckpt if it is time or the run is to stop; only where an update has just been made.

        Lightning calls checkpoint callbacks last, so the callback of max_time has already been asked.

        Not where a validation or the end of an epoch follows: from there Lightning would resume without it, and the
        checkpoint of that validation is near.
        """
        is_update = is_optimizer_step(trainer, batch_idx)
        if self._stops_at_update or is_told_to_stop(trainer):
            trainer.should_stop, self._stops_at_update = is_update, not is_update
        if ends_after(trainer, batch_idx):
            force_validation(trainer)
            return
        if validation_follows(trainer, batch_idx) or not is_update or trainer.fast_dev_run:
            return
        stopping = self._is_stopping(trainer)
        due = stopping or bool(self.every_n_steps) and trainer.global_step % self.every_n_steps == 0
        if self.every_n_minutes:
            is_time = time.monotonic() - self._written_at >= 60 * self.every_n_minutes
            due = due or trainer.strategy.broadcast(is_time)  # clocks differ between processes; the first one decides
        if due:
            self._write(trainer, is_best=False)
        if stopping:
            raise self._signals.error()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate, if a callback ends the fit only now; Lightning calls checkpoint callbacks last here, too."""
        if self._schedule is not None:
            trainer.check_val_every_n_epoch, trainer.val_check_batch = self._schedule
            self._schedule = None
        if is_told_to_stop(trainer) and self._validated_step != trainer.global_step:
            trainer.validating = True
            trainer.fit_loop.epoch_loop.val_loop.run()
            trainer.training = True

    def on_validation_end(self, trainer: Trainer, pl_module: ScoredModule) -> None:
        """Compare the score with the best and write."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        self._validated_step = trainer.global_step
        if trainer.fast_dev_run:
            return
        score = pl_module.scores.get(self.monitor)
        if score is None:
            raise InputError(
                f"the validation gave no {self.monitor}, which chooses the best checkpoint; score more examples: "
                "trainer.limit_val_batches, model.val_decoding.fraction"
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
            raise self._signals.error()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Where a validation is done again that a signal has cut, count its batches once."""
        trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.reset_on_restart()

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Stop within a validation, which may take minutes; the run that resumes does it again, from its beginning.

        Not where Lightning would not resume with a validation, as it takes a run that ends for done; and not with
        several processes, which agree once a validation.
        """
        has_ended = trainer.should_stop or 0 < trainer.max_steps <= trainer.global_step
        if self._signals.received is not None and not (has_ended or trainer.world_size > 1 or trainer.fast_dev_run):
            self._is_cutting = True
            self._write(trainer, is_best=False)
            raise self._signals.error()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Say of a validation that is cut that it is at its first batch, as if that had failed."""
        if self._is_cutting:
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
            before = progress["total"]["completed"] - progress["current"]["completed"]
            for name, done in (("total", before), ("current", 0)):
                progress[name].update(ready=done + 1, started=done + 1, processed=done, completed=done)

    def _is_stopping(self, trainer: Trainer) -> bool:
        """Whether any process was asked to stop: all must agree, for writing a checkpoint takes all of them."""
        asked = self._signals.received is not None
        return asked if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(asked, all=False)

    def _write_weights(self, trainer: Trainer, keep: int) -> None:
        """Add this validation's weights, then drop the oldest: at no moment are there too few of them.

        This comes before last.ckpt: a run that is killed in between writes the same files again.
        """
        folder = _folder(trainer)
        # by all processes; ends in a barrier
        trainer.save_checkpoint(folder / weights_name(trainer.global_step), weights_only=True)
        if trainer.is_global_zero:
            for old in kept_weights(folder)[:-keep]:
                old.unlink()

    def _write(self, trainer: Trainer, is_best: bool) -> None:
        best, last = (_folder(trainer) / f"{name}.ckpt" for name in ("best", "last"))
        fresh = last.with_name("last.ckpt.tmp")
        trainer.save_checkpoint(fresh)  # by all processes; ends in a barrier
        if trainer.is_global_zero:
            try:
                if is_best:
                    with atomic_write(best) as part:
                        hardlink_or_copy(fresh, part)
                with report_write_errors(last):
                    os.replace(fresh, last)
            finally:
                fresh.unlink(missing_ok=True)
        self.best_model_path = str(best) if is_best else self.best_model_path
        self.last_model_path = str(last)
        self._written_at = time.monotonic()


def _folder(trainer: Trainer) -> Path:
    return Path(trainer.default_root_dir) / CHECKPOINTS
