"""ProgressLines: a run told in lines, for log files and people who read them.

A line at each validation, and, where there is no terminal for a progress bar, one every so many seconds.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar, TQDMProgressBar
from pytorch_lightning.utilities import rank_zero_only


class ProgressLines(Callback):
    """Prints scores at each validation, and the state of training in between.

    Args:
        every_s: seconds between two lines of training where there is no progress bar.
    """

    def __init__(self, every_s: float = 30.0) -> None:
        self.every_s = every_s
        self._last_line_at = self._started_at = 0.0
        self._first_batch = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started_at = self._last_line_at = time.monotonic()
        self._first_batch = _batches_done(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A line, if it is time for one."""
        now = time.monotonic()
        if trainer.progress_bar_callback is not None or now - self._last_line_at < self.every_s:
            return
        self._last_line_at = now
        _say(
            trainer,
            f"epoch {trainer.current_epoch + 1}  batch {batch_idx + 1}/{trainer.num_training_batches}  "
            f"step {trainer.global_step}  loss {float(outputs['loss']) * trainer.accumulate_grad_batches:.4f}"
            f"  {self._time_left(trainer, now)}",
        )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Scores of the validation set and the train probe, side by side."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        parts = []
        for metric in pl_module.metrics:
            validation = pl_module.scores.get(f"val/{metric}")
            train = pl_module.scores.get(f"train_probe/{metric}")
            if validation is not None:
                parts.append(f"{metric} val {validation:.4f}" + (f" train {train:.4f}" if train is not None else ""))
        now = time.monotonic()
        self._last_line_at = now
        _say(
            trainer,
            f"epoch {trainer.current_epoch + 1}  step {trainer.global_step}  {'  '.join(parts)}"
            f"  {self._time_left(trainer, now)}",
        )

    def _time_left(self, trainer: Trainer, now: float) -> str:
        """Time left to the last step or epoch, at the speed so far; nothing where neither is set."""
        done = _batches_done(trainer)
        if trainer.max_steps > 0:
            share_left = (trainer.max_steps - trainer.global_step) * trainer.accumulate_grad_batches
        elif trainer.max_epochs and trainer.max_epochs > 0:
            share_left = trainer.max_epochs * int(trainer.num_training_batches) - done
        else:
            return ""
        seconds = (now - self._started_at) / max(1, done - self._first_batch) * max(0, share_left)
        return f"[{int(seconds) // 60}:{int(seconds) % 60:02d} left]"


def progress_bar_wanted() -> bool:
    """Whether there is a terminal to draw a progress bar on."""
    return sys.stderr.isatty() and sys.stdout.isatty()


def _batches_done(trainer: Trainer) -> int:
    return trainer.fit_loop.epoch_loop.batch_progress.total.completed


@rank_zero_only
def _say(trainer: Trainer, line: str) -> None:
    bar: ProgressBar | None = trainer.progress_bar_callback
    if isinstance(bar, TQDMProgressBar):
        bar.print(line)  # above the bar, which stays whole
    else:
        print(line, flush=True)
