"""BareLoop: `fit` against a plain loop over the same batches with the same model and optimizer, in turns.

The turns are blocks of some updates: one by Lightning with all its callbacks, then the same batches again by the loop
below. So a machine that slows down slows both, and each pair of neighbours gives a ratio of its own.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from app.benchmark.phases import PhaseProfiler
from app.errors import InputError

FILE_NAME = "bare_loop.json"


class BareLoop(Callback):
    """Writes bare_loop.json into the run folder, and ends the run.

    It holds `pairs` (seconds of a block by fit and by the bare loop), `updates` of a block, `tokens` of each, `phases`
    (shares of a last block's time by fit), and `first_step_s` (from the command to the first update).

    Args:
        updates: updates per block, limited by the length of an epoch; one in fifty measures the norms.
        blocks: timed pairs of blocks.
        warmup: updates before the first block.
        launched_at: time.time() when the command was started.
        bare: False times fit only, and pairs hold nan; for several processes, which must not train apart.
    """

    def __init__(
        self, updates: int = 50, blocks: int = 5, warmup: int = 10, launched_at: float = 0.0, bare: bool = True
    ) -> None:
        self.updates, self.blocks, self.warmup, self.launched_at = updates, blocks, warmup, launched_at
        self.bare = bare
        self._first_step_s: float | None = None
        self._batches: list[Any] = []  # of the block that fit is in; None of them is copied
        self._began: float | None = None
        self._began_at_step = 0
        self._by_fit: float | None = None  # seconds of a block that has ended, until the bare loop has had its turn
        self._pairs: list[tuple[float, float]] = []
        self._tokens: list[int] = []
        self._profiler: PhaseProfiler | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Limit blocks to the length of an epoch."""
        most = int(trainer.num_training_batches) // trainer.accumulate_grad_batches
        if most < 2:
            raise InputError("an epoch has a single update, too few for a block; use smaller batches or more data")
        self.updates = min(self.updates, max(1, most - 2))  # one begins before a block, and one follows it

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Run the bare loop after a block; here, unlike at the block's end, no hook measures the norms."""
        if self._first_step_s is None:
            self._first_step_s = time.time() - self.launched_at
        if self._by_fit is None:
            return
        by_hand = bare_loop(trainer, pl_module, self._batches) if self.bare else math.nan
        self._pairs.append((self._by_fit, by_hand))
        self._tokens.append(sum(part.tokens for part in self._batches))
        self._by_fit = self._began = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Begin a block between two updates, and end it after its number of updates."""
        if trainer.global_step < self.warmup:
            return
        if self._began is None:
            if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:  # between two updates
                self._begin(trainer)
            return
        self._batches.append(batch)
        if trainer.global_step - self._began_at_step < self.updates:
            return
        if self._profiler is not None:
            self._write(trainer)
            trainer.should_stop = True
            return
        self._by_fit = _now(pl_module) - self._began

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restart the block, which would otherwise include a validation."""
        self._began = None

    def _begin(self, trainer: Trainer) -> None:
        self._batches = []
        self._began_at_step = trainer.global_step
        if len(self._pairs) == self.blocks:
            trainer.profiler = self._profiler = PhaseProfiler()
        self._began = _now(trainer.lightning_module)

    def _write(self, trainer: Trainer) -> None:
        assert self._profiler is not None
        found = {
            "updates": self.updates,
            "pairs": self._pairs,
            "tokens": self._tokens,
            "unit": self._batches[0].UNIT,
            "phases": self._profiler.shares(),
            "first_step_s": self._first_step_s,
        }
        if trainer.is_global_zero:
            path = Path(trainer.default_root_dir) / FILE_NAME
            path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def bare_loop(trainer: Trainer, task: Any, batches: list[Any]) -> float:
    """Train on the batches in a plain loop, and return the seconds.

    Args:
        trainer: only its optimizer, schedule, clipping, accumulation and precision are used.
        task: the model with its loss.
        batches: batches on its device.
    """
    optimizer, schedule = trainer.optimizers[0], trainer.lr_scheduler_configs[0].scheduler
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    accumulate = trainer.accumulate_grad_batches
    optimizer.zero_grad()  # fit leaves its last gradients to its next update
    began = _now(task)
    for number, batch in enumerate(batches, 1):
        with trainer.precision_plugin.forward_context():
            loss = task.train_loss(batch).objective / batch.loss_denominator
        loss.backward()
        if number % accumulate == 0:
            if trainer.gradient_clip_val:
                torch.nn.utils.clip_grad_norm_(parameters, trainer.gradient_clip_val)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    return _now(task) - began


def _now(module: LightningModule) -> float:
    if module.device.type == "cuda":
        torch.cuda.synchronize(module.device)
    return time.perf_counter()
