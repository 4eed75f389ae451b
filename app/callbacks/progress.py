"""ProgressLines: the progress of a run in lines, for log files and terminals.

One line is printed where a run resumes, at each validation and at the start of a test; without a progress bar, one more
every `every_s` seconds, whether it trains, validates or tests.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar, TQDMProgressBar
from pytorch_lightning.utilities import rank_zero_only
from tqdm import tqdm

from app.callbacks.steps import TimeLeft
from app.progress import EVERY_S, minutes

log = logging.getLogger(__name__)


class ProgressLines(Callback):
    """Prints scores at each validation, and the state of training and evaluation in between.

    Args:
        every_s: seconds between two lines, used only without a progress bar.
    """

    def __init__(self, every_s: float = EVERY_S) -> None:
        self.every_s = every_s
        self._last_line_at = self._evaluating_since = 0.0
        self._time_left = TimeLeft()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, and say where a run resumes."""
        if trainer.ckpt_path:
            where = f"epoch {trainer.current_epoch + 1} after step {trainer.global_step}"
            _say(trainer, f"resuming from {trainer.ckpt_path}, written in {where}")
        self._last_line_at = time.monotonic()
        self._time_left.start(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print a line if one is due."""
        if not self._is_due(trainer):
            return
        _say(
            trainer,
            f"epoch {trainer.current_epoch + 1}  batch {batch_idx + 1}/{trainer.num_training_batches}  "
            f"step {trainer.global_step}  loss {float(outputs['loss']) * trainer.accumulate_grad_batches:.4f}"
            f"  {self._left(trainer)}",
        )

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of an evaluation."""
        self._evaluating_since = time.monotonic()
        if trainer.state.fn == "validate":
            self._last_line_at = self._evaluating_since
            _say(trainer, f"validating {_weights(trainer)}, batches: {sum(trainer.num_val_batches)}")

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Print a line if one is due."""
        if self._is_due(trainer) and not trainer.sanity_checking:
            self._say_evaluated(trainer, "validating", trainer.num_val_batches, dataloader_idx, batch_idx)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what is tested: in a fit nothing else would tell what follows the last epoch."""
        self._last_line_at = self._evaluating_since = time.monotonic()
        _say(trainer, f"testing {_weights(trainer)}, batches: {sum(trainer.num_test_batches)}")

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Print a line if one is due."""
        if self._is_due(trainer):
            self._say_evaluated(trainer, "testing", trainer.num_test_batches, dataloader_idx, batch_idx)

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

    def _is_due(self, trainer: Trainer) -> bool:
        now = time.monotonic()
        if trainer.progress_bar_callback is not None or now - self._last_line_at < self.every_s:
            return False
        self._last_line_at = now
        return True

    def _say_evaluated(
        self, trainer: Trainer, what: str, batches: Sequence[int | float], loader: int, batch_idx: int
    ) -> None:
        done, total = int(sum(batches[:loader])) + batch_idx + 1, int(sum(batches))
        left = (time.monotonic() - self._evaluating_since) / done * (total - done)
        _say(trainer, f"{what}  batch {done}/{total}  [{minutes(left)} left]")

    def _left(self, trainer: Trainer) -> str:
        seconds = self._time_left.seconds(trainer)
        return "" if seconds is None else f"[{minutes(seconds)} left]"


class PredictProgress(Callback):
    """Reports the progress of predict, and at its end the throughput.

    Args:
        total: number of records to read; None while they are still arriving, where nothing is reported before the end.
        has_bar: draw a bar, in place of lines.
        every_s: seconds between two lines.
    """

    def __init__(self, total: int | None, has_bar: bool = False, every_s: float = EVERY_S) -> None:
        self.total, self.every_s = total, every_s
        self.done = 0
        self._bar = tqdm(total=total, unit=" records", leave=False, disable=not has_bar or total is None)
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
        self._bar.update(len(batch.index))
        now = time.monotonic()
        if not self._bar.disable or self.total is None or now - self._last_line_at < self.every_s:
            return
        self._last_line_at = now
        rate = self.done / (now - self._started_at)
        left = minutes((self.total - self.done) / rate)
        log.info("%s of %s records  %s per second  [%s left]", f"{self.done:,}", f"{self.total:,}", _rate(rate), left)

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()

    def closing_line(self) -> str:
        """The last line: records, seconds, records per second."""
        seconds = time.monotonic() - self._started_at
        count = "1 record" if self.done == 1 else f"{self.done:,} records"
        return f"{count} in {seconds:.1f} s, {_rate(self.done / seconds)} per second"


def _rate(rate: float) -> str:
    """At least three digits, so that slow rates can be told apart."""
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def _weights(trainer: Trainer) -> str:
    return Path(trainer.ckpt_path).name if trainer.ckpt_path else "the mean of weights"


@rank_zero_only
def _say(trainer: Trainer, line: str) -> None:
    bar: ProgressBar | None = trainer.progress_bar_callback
    if isinstance(bar, TQDMProgressBar):
        bar.print(line)  # above the bar, which stays whole
    else:
        print(line, flush=True)
