"""Which examples stand in which batch: a pure function of (seed, epoch, lengths, budget).

The examples are sorted by length once and cut into batches once, so the number of batches is the same in every epoch.
What an epoch's generator shuffles is who stands where: examples of about the same length (a bucket) change places,
then the batches change order. A cut charges each example with the longest length of its bucket, so no shuffle can
break the budget.

Processes take their share of every batch (`batch[rank::world_size]`) rather than batches of their own: the plan, and
with it the experiment, does not depend on how many there are. No state is kept anywhere: (epoch, batches consumed)
says where a run stands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

_BUCKET_GROWTH = 1.08  # longest to shortest length within a bucket; wider shuffles more and pads more


@dataclass(frozen=True)
class PlanItem:
    """One process's share of one batch.

    Args:
        indices: examples of this process; one copied example when `is_dummy`.
        loss_denominator: loss units of the whole update, over all processes and accumulated batches.
        is_dummy: this process has no example of its own in the batch.
    """

    indices: list[int]
    loss_denominator: int
    is_dummy: bool


class Plan(Protocol):
    """Which examples stand in which batch of an epoch: a `BatchPlan`, or what stands for one."""

    lengths: np.ndarray  # (N,) int64, cost of each example
    units: np.ndarray  # (N,) int64, loss units of each example

    def __len__(self) -> int:
        """Batches of an epoch: the same in every epoch."""

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """The whole batches of an epoch, in order."""

    @property
    def padding_efficiency(self) -> float:
        """Real tokens / padded tokens."""

    @property
    def fingerprint(self) -> str:
        """Digest of everything that the plan depends on."""


class BatchPlan:
    """The batches of every epoch, as a function of the arguments alone.

    Args:
        lengths: (N,) cost of each example, in tokens; ones for batches by example count.
        budget: most that a batch may cost, padding included: examples x longest length.
        seed: with the epoch, seeds the shuffle; None keeps the order of lengths (evaluation).
        units: (N,) loss units of each example, such as target tokens; one each by default.

    Raises:
        ValueError: for no example at all, a budget below the longest example, or lengths below 1.
    """

    def __init__(
        self, lengths: Sequence[int] | np.ndarray, budget: int, seed: int | None, units: np.ndarray | None = None
    ) -> None:
        self.lengths = np.asarray(lengths, dtype=np.int64)
        if len(self.lengths) == 0:
            raise ValueError("no examples to make batches of")
        if self.lengths.min() < 1:
            raise ValueError("an example of length 0 cannot stand in a batch")
        if self.lengths.max() > budget:
            raise ValueError(f"the longest example has {self.lengths.max()} tokens, more than the budget of {budget}")
        self.budget = budget
        self.seed = seed
        self.units = np.ones_like(self.lengths) if units is None else np.asarray(units, dtype=np.int64)
        self._order = np.argsort(self.lengths, kind="stable")
        self._buckets = _bucket_bounds(self.lengths[self._order])
        self._cuts = _cut(self.lengths[self._order], self._buckets, budget)

    def __len__(self) -> int:
        """Batches of an epoch: the same in every epoch and on every process."""
        return len(self._cuts) - 1

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """The whole batches of an epoch, in order, before they are cut to processes: arrays of example indices."""
        order = self._order
        batch_order = np.arange(len(self))
        if self.seed is not None:
            rng = np.random.default_rng([self.seed, epoch])
            order = order.copy()
            for start, end in zip(self._buckets[:-1], self._buckets[1:], strict=True):
                rng.shuffle(order[start:end])
            rng.shuffle(batch_order)
        return [order[self._cuts[b] : self._cuts[b + 1]] for b in batch_order]

    @property
    def padding_efficiency(self) -> float:
        """Real tokens / padded tokens over the first epoch."""
        padded = sum(len(batch) * int(self.lengths[batch].max()) for batch in self.epoch(0))
        return float(self.lengths.sum()) / padded

    @property
    def fingerprint(self) -> str:
        """Digest of everything that the plan depends on: equal fingerprints mean equal batches in every epoch."""
        digest = hashlib.sha256(f"{self.seed}|{self.budget}|{_BUCKET_GROWTH}|".encode())
        digest.update(self.lengths.tobytes())
        digest.update(self.units.tobytes())
        return digest.hexdigest()[:16]


class PlanSampler:
    """The plan as a DataLoader's batch sampler: one process's share of each batch, from a position on.

    Lightning calls `set_epoch` on `batch_sampler.sampler` before each epoch; hence `sampler`, which returns this
    object.

    Args:
        plan: the plan.
        rank: this process.
        world_size: number of processes.
        accumulate: batches accumulated into one update.
        epoch: epoch to begin with.
        skip: batches of that epoch that were consumed before.
    """

    def __init__(
        self, plan: Plan, rank: int = 0, world_size: int = 1, accumulate: int = 1, epoch: int = 0, skip: int = 0
    ) -> None:
        self.plan, self.rank, self.world_size, self.accumulate = plan, rank, world_size, accumulate
        self.epoch, self.skip = epoch, skip

    @property
    def sampler(self) -> PlanSampler:
        """Itself: what Lightning looks for `set_epoch` on."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Move to an epoch; a new one begins at its first batch."""
        if epoch != self.epoch:
            self.epoch, self.skip = epoch, 0

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[PlanItem]:
        batches = self.plan.epoch(self.epoch)
        units = np.array([self.plan.units[batch].sum() for batch in batches])
        for position in range(self.skip, len(batches)):
            window = position // self.accumulate * self.accumulate
            own = batches[position][self.rank :: self.world_size]
            yield PlanItem(
                indices=(own if len(own) else batches[position][:1]).tolist(),
                loss_denominator=int(units[window : window + self.accumulate].sum()),
                is_dummy=len(own) == 0,
            )


def _bucket_bounds(sorted_lengths: np.ndarray) -> np.ndarray:
    """Positions in the sorted order where a new bucket begins, and the end: (buckets + 1,)."""
    bounds = [0]
    while bounds[-1] < len(sorted_lengths):
        shortest = sorted_lengths[bounds[-1]]
        longest = max(shortest, int(shortest * _BUCKET_GROWTH))
        bounds.append(int(np.searchsorted(sorted_lengths, longest, side="right")))
    return np.array(bounds)


def _cut(sorted_lengths: np.ndarray, buckets: np.ndarray, budget: int) -> np.ndarray:
    """Positions in the sorted order where a new batch begins, and the end: (batches + 1,).

    Batches run on over the ends of buckets, so that no bucket leaves a small rest behind.
    """
    charged = np.repeat(sorted_lengths[buckets[1:] - 1], np.diff(buckets))  # (N,) longest length of the own bucket
    cuts = [0]
    while cuts[-1] < len(charged):
        begin = cuts[-1]
        costs = charged[begin : begin + budget] * np.arange(1, min(budget, len(charged) - begin) + 1)
        cuts.append(begin + max(1, int(np.searchsorted(costs, budget, side="right"))))
    return np.array(cuts)
