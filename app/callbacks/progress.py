"""ProgressLines: the progress of a run in lines, for log files and terminals.

One line is printed at each validation; without a progress bar, one more every `every_s` seconds.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar, TQDMProgressBar
from pytorch_lightning.utilities import rank_zero_only

from app.callbacks.steps import TimeLeft

log = logging.getLogger(__name__)


class ProgressLines(Callback):
    """Prints scores at each validation, and the state of training in between.

    Args:
        every_s: seconds between two lines of training, used only without a progress bar.
    """

    def __init__(self, every_s: float = 30.0) -> None:
        self.every_s = every_s
        self._last_line_at = 0.0
        self._time_left = TimeLeft()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._last_line_at = time.monotonic()
        self._time_left.start(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print a line if one is due."""
        now = time.monotonic()
        if trainer.progress_bar_callback is not None or now - self._last_line_at < self.every_s:
            return
        self._last_line_at = now
        _say(
            trainer,
            f"epoch {trainer.current_epoch + 1}  batch {batch_idx + 1}/{trainer.num_training_batches}  "
            f"step {trainer.global_step}  loss {float(outputs['loss']) * trainer.accumulate_grad_batches:.4f}"
            f"  {self._left(trainer)}",
        )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the scores of the validation set and the train probe next to each other."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        parts = []
        for metric in (info.name for info in pl_module.metrics):
            validation = pl_module.scores.get(f"val/{metric}")
            train = pl_module.scores.get(f"train_probe/{metric}")
            if validation is not None:
                parts.append(f"{metric} val {validation:.4f}" + (f" train {train:.4f}" if train is not None else ""))
        self._last_line_at = time.monotonic()
        _say(
            trainer,
            f"epoch {trainer.current_epoch + 1}  step {trainer.global_step}  {'  '.join(parts)}  {self._left(trainer)}",
        )

    def _left(self, trainer: Trainer) -> str:
        seconds = self._time_left.seconds(trainer)
        return "" if seconds is None else f"[{minutes(seconds)} left]"


class PredictProgress(Callback):
    """Reports the progress of predict, and at its end the throughput.

    Args:
        total: number of records to read; None while they are still arriving, where nothing is reported before the end.
        every_s: seconds between two lines.
    """

    def __init__(self, total: int | None, every_s: float = 30.0) -> None:
        self.total, self.every_s = total, every_s
        self.done = 0
        self._started_at = self._last_line_at = time.monotonic()

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count, and report if it is time."""
        self.done += len(batch.index)
        now = time.monotonic()
        if self.total is None or now - self._last_line_at < self.every_s:
            return
        self._last_line_at = now
        rate = self.done / (now - self._started_at)
        left = minutes((self.total - self.done) / rate)
        log.info("%s of %s records  %s per second  [%s left]", f"{self.done:,}", f"{self.total:,}", _rate(rate), left)

    def closing_line(self) -> str:
        """The last line: records, seconds, records per second."""
        seconds = time.monotonic() - self._started_at
        count = "1 record" if self.done == 1 else f"{self.done:,} records"
        return f"{count} in {seconds:.1f} s, {_rate(self.done / seconds)} per second"


def minutes(seconds: float) -> str:
    """Seconds as minutes:seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _rate(rate: float) -> str:
    """At least three digits, so that slow rates can be told apart."""
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


@rank_zero_only
def _say(trainer: Trainer, line: str) -> None:
    bar: ProgressBar | None = trainer.progress_bar_callback
    if isinstance(bar, TQDMProgressBar):
        bar.print(line)  # above the bar, which stays whole
    else:
        print(line, flush=True)
