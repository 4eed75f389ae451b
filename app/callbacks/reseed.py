"""Reseed: random numbers are a function of (seed, step, process), so a resumed run draws the same ones."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer


def reseed(*key: int) -> None:
    """Seed torch (all devices), numpy and random from a key of non-negative numbers."""
    words = np.random.SeedSequence(key).generate_state(3, dtype=np.uint64)
    # torch.manual_seed writes down a stack trace for each kind of device that is not there, every time it is called
    seed = torch.manual_seed if torch.accelerator.is_available() else torch.default_generator.manual_seed
    seed(int(words[0]))
    np.random.seed(int(words[1]) % 2**32)
    random.seed(int(words[2]))


class Reseed(Callback):
    """Reseeds before every training batch.

    The step alone would repeat the same dropout in every batch accumulated into one update, so the batch's number in
    its epoch is part of the key.

    Args:
        seed: the run's seed; train.py gives it --seed_everything.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed the generators for this batch."""
        reseed(self.seed, trainer.global_step, batch_idx, trainer.global_rank)
