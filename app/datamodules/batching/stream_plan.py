"""Batches of contiguous streams: what `BatchPlan` is to examples that stand alone.

A group of streams goes through the model side by side, from its first segments to its last, then the next group: every
batch of a group has the same rows in the same order, so a process, which takes `batch[rank::world_size]`, keeps its own
streams from batch to batch, and a model's memory fits. (The filler of a process without a stream copies the group's
first one, at every step the same.) How many go side by side says nothing about what a byte is predicted from, so a
score depends on neither batch size nor number of processes.
"""

from __future__ import annotations

import hashlib

import numpy as np


class StreamPlan:
    """The batches of every epoch, which is the same for all: contiguous text cannot be shuffled.

    Args:
        units: (steps * streams,) bytes of segment t of stream s, at t * streams + s; the first streams are the longest.
        streams: how many streams there are.
        batch_size: how many of them go side by side; for training all.
    """

    def __init__(self, units: np.ndarray, streams: int, batch_size: int) -> None:
        self.units = self.lengths = np.asarray(units, dtype=np.int64)
        self.streams, self.batch_size = streams, batch_size
        self._groups = [np.arange(begin, min(begin + batch_size, streams)) for begin in range(0, streams, batch_size)]
        # A group ends with its first stream: what its others lack in the last step are rows without targets.
        self._steps = [np.count_nonzero(self.units.reshape(-1, streams)[:, group[0]]) for group in self._groups]

    def __len__(self) -> int:
        """Batches of an epoch: the same in every epoch and on every process."""
        return sum(self._steps)

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """The whole batches in order, before they are cut to processes: arrays of example indices."""
        return [
            step * self.streams + group
            for group, steps in zip(self._groups, self._steps, strict=True)
            for step in range(steps)
        ]

    @property
    def padding_efficiency(self) -> float:
        """Real bytes / padded bytes."""
        padded = sum(len(batch) * int(self.lengths[batch].max()) for batch in self.epoch(0))
        return float(self.lengths.sum()) / padded

    @property
    def fingerprint(self) -> str:
        """Digest of everything that the plan depends on: equal fingerprints mean equal batches."""
        digest = hashlib.sha256(f"streams|{self.streams}|{self.batch_size}|".encode())
        digest.update(self.units.tobytes())
        return digest.hexdigest()[:16]
