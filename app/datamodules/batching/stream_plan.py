"""Batches of contiguous streams: what `BatchPlan` is for independent examples.

A group of streams passes through the model in parallel, from its first segments to its last, then the next group. Every
batch of a group has the same rows in the same order, so a process, which takes `batch[rank::world_size]`, keeps its own
streams from batch to batch, and the memory of a model stays aligned. (The dummy example of a process without a stream
is a copy of the group's first one, at every step.) How many streams are in a group does not change what a byte is
predicted from, so a score depends neither on the batch size nor on the number of processes.
"""

from __future__ import annotations

import numpy as np

from app.datamodules.batching.batch_plan import Plan, digest


class StreamPlan(Plan):
    """The batches of every epoch; they are the same in all, because contiguous text cannot be shuffled.

    Args:
        units: (steps * streams,) bytes of segment t of stream s, at t * streams + s; the first streams are the longest.
        streams: the number of streams.
        batch_size: how many of them are in a group; for training all.
    """

    def __init__(self, units: np.ndarray, streams: int, batch_size: int) -> None:
        self.units = self.lengths = np.asarray(units, dtype=np.int64)
        self.streams, self.batch_size = streams, batch_size
        self._groups = [np.arange(begin, min(begin + batch_size, streams)) for begin in range(0, streams, batch_size)]
        # A group ends with its first stream: the others that lack the last step have a row without targets there.
        self._steps = [np.count_nonzero(self.units.reshape(-1, streams)[:, group[0]]) for group in self._groups]

    def __len__(self) -> int:
        return sum(self._steps)

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """The whole batches of an epoch; see `Plan.epoch`."""
        return [
            step * self.streams + group
            for group, steps in zip(self._groups, self._steps, strict=True)
            for step in range(steps)
        ]

    @property
    def fingerprint(self) -> str:
        """A digest of the arguments; see `Plan.fingerprint`."""
        return digest(f"streams|{self.streams}|{self.batch_size}|", self.units)
