"""MetricLines: the lines of metrics.jsonl that every run has, and what the run has cost so far.

Keys written every `trainer.log_every_n_steps` updates: `train/loss` (nats per unit, the mean since the last such line,
without label smoothing), `train/smoothed_loss` (with it, where there is some), `lr`, `tokens_per_s` (or, by what the
task reads, `words_per_s`, `bytes_per_s`, `images_per_s`), `elapsed_s` and `seconds_left` (an estimate). Keys written at
each validation: the scores of the task under `val/` and `train_probe/`.
All loggers of the trainer get them.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from app.callbacks.scored_module import ScoredModule
from app.callbacks.steps import TimeLeft, is_optimizer_step
from app.callbacks.tensorboard import EventFiles
from app.runs.checkpoint_file import RUN_RECORD
from app.runs.metrics_file import Event, MetricsFile, log_event


class MetricLines(Callback):
    """Counts tokens (or words, bytes, images) and time, also over resumed runs, and writes the lines.

    On resume, metrics.jsonl and TensorBoard's events are first truncated to the checkpoint, so that no step occurs
    twice.
    """

    def __init__(self) -> None:
        self._elapsed_before_s = 0.0
        self._tokens = self._line_tokens = 0
        self._started_at = self._line_at = self._validation_at = time.monotonic()
        self._event: Event | None = None
        self._time_left = TimeLeft()

    @property
    def elapsed_s(self) -> float:
        """Seconds of training so far, those before a resume included."""
        return self._elapsed_before_s + time.monotonic() - self._started_at

    def tokens(self, trainer: Trainer) -> int:
        """Tokens so far, over all processes; to be called on all of them."""
        count = torch.tensor(self._tokens, device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(count, reduce_op="sum"))

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the counts and the last event; called on all processes."""
        checkpoint.setdefault(RUN_RECORD, {}).update(
            elapsed_s=self.elapsed_s,
            tokens=self.tokens(trainer),
            event=next((logger.last for logger in trainer.loggers if isinstance(logger, MetricsFile)), None),
        )

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Resume counting."""
        if trainer.state.fn != "fit" or RUN_RECORD not in checkpoint:
            return
        saved = checkpoint[RUN_RECORD]
        self._elapsed_before_s, self._event = saved["elapsed_s"], saved["event"]
        if trainer.is_global_zero:  # the sum over all processes is continued in one of them
            self._tokens = self._line_tokens = saved["tokens"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, and drop events after the checkpoint's."""
        self._started_at = self._line_at = time.monotonic()
        self._time_left.start(trainer)
        for logger in trainer.loggers:
            if isinstance(logger, MetricsFile):
                logger.truncate_to(self._event)
            elif isinstance(logger, EventFiles):
                logger.truncate_to(trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: ScoredModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count, and write a line if it is due."""
        self._tokens += batch.tokens
        if not is_optimizer_step(trainer, batch_idx) or trainer.global_step % trainer.log_every_n_steps:
            return
        now, left = time.monotonic(), self._time_left.seconds(trainer)
        tokens_per_s = (self._tokens - self._line_tokens) * trainer.world_size / (now - self._line_at)
        log_event(
            trainer,
            {
                **pl_module.take_train_scores(),
                "lr": trainer.optimizers[0].param_groups[0]["lr"],
                f"{pl_module.input_unit}_per_s": tokens_per_s,
                "elapsed_s": self.elapsed_s,
                **({} if left is None else {"seconds_left": left}),
            },
        )
        self._line_at, self._line_tokens = now, self._tokens

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the time: validation does not count into the throughput."""
        self._validation_at = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: ScoredModule) -> None:
        """Write a line of scores."""
        self._line_at += time.monotonic() - self._validation_at
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            log_event(trainer, pl_module.scores)
