"""Which examples are in which batch: a pure function of (seed, epoch, lengths, budget).

The examples are sorted by length once and cut into batches once, so the number of batches is the same in every epoch.
An epoch shuffles which examples are where: those of about the same length (a bucket) change places, then the batches
change order. A cut charges each example with the longest length of its bucket, so no shuffle can exceed the budget.

Processes take their share of every batch (`batch[rank::world_size]`) rather than batches of their own: the plan, and
with it the experiment, does not depend on the number of processes. No state is kept anywhere: (epoch, number of batches
consumed) is the position of a run.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_BUCKET_GROWTH = 1.08  # longest to shortest length within a bucket; wider shuffles more and pads more


@dataclass(frozen=True)
class PlanItem:
    """One process's share of one batch.

    Args:
        indices: the examples of this process; a single copied example when `is_dummy`.
        loss_denominator: loss units of the whole update, over all processes and accumulated batches.
        is_dummy: whether this process has no example of its own in the batch.
    """

    indices: list[int]
    loss_denominator: int
    is_dummy: bool


class Plan(ABC):
    """Which examples are in which batch of an epoch: a `BatchPlan` or a `StreamPlan`."""

    lengths: np.ndarray  # (N,) int64, cost of each example
    units: np.ndarray  # (N,) int64, loss units of each example

    @abstractmethod
    def __len__(self) -> int:
        """The number of batches of an epoch: the same in every epoch and on every process."""

    @abstractmethod
    def epoch(self, epoch: int) -> list[np.ndarray]:
        """The whole batches of an epoch in order, before they are shared among processes: example indices."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A digest of everything that the plan depends on: equal fingerprints mean equal batches in every epoch."""

    @property
    def padding_efficiency(self) -> float:
        """Real tokens / padded tokens over the first epoch."""
        padded = sum(len(batch) * int(self.lengths[batch].max()) for batch in self.epoch(0))
        return float(self.lengths.sum()) / padded

    def __str__(self) -> str:
        """The plan in words, for the log."""
        return (
            f"{len(self)} batches per epoch, {len(self.lengths) / len(self):.0f} examples per batch on average, "
            f"{100 * (1 - self.padding_efficiency):.0f} % padding"
        )


class BatchPlan(Plan):
    """The batches of every epoch, as a function of the arguments alone.

    Args:
        lengths: (N,) cost of each example, in tokens; ones for batches by example count.
        budget: maximum cost of a batch, padding included: number of examples x longest length.
        seed: seeds the shuffle, together with the epoch; None keeps the order of lengths (evaluation).
        units: (N,) loss units of each example, such as target tokens; by default one each.

    Raises:
        ValueError: without examples, for a budget below the longest example, or for lengths below 1.
    """

    def __init__(
        self, lengths: Sequence[int] | np.ndarray, budget: int, seed: int | None, units: np.ndarray | None = None
    ) -> None:
        self.lengths = np.asarray(lengths, dtype=np.int64)
        if len(self.lengths) == 0:
            raise ValueError("no examples to make batches of")
        if self.lengths.min() < 1:
            raise ValueError("an example of length 0 cannot be in a batch")
        if self.lengths.max() > budget:
            raise ValueError(f"the longest example has {self.lengths.max()} tokens, more than the budget of {budget}")
        self.budget = budget
        self.seed = seed
        self.units = np.ones_like(self.lengths) if units is None else np.asarray(units, dtype=np.int64)
        self._order = np.argsort(self.lengths, kind="stable")
        self._buckets = _bucket_bounds(self.lengths[self._order])
        self._cuts = _cut(self.lengths[self._order], self._buckets, budget)

    def __len__(self) -> int:
        return len(self._cuts) - 1

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """The whole batches of an epoch; see `Plan.epoch`."""
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
    def fingerprint(self) -> str:
        """A digest of the arguments; see `Plan.fingerprint`."""
        return digest(f"{self.seed}|{self.budget}|{_BUCKET_GROWTH}|", self.lengths, self.units)


class PlanSampler:
    """The batch sampler of a plan: one process's share of each batch, starting at any position.

    Lightning calls `set_epoch` on `batch_sampler.sampler` before each epoch; hence the property `sampler`.

    Args:
        plan: the plan.
        rank: number of this process.
        world_size: number of processes.
        accumulate: number of batches that are accumulated into one update.
        epoch: the epoch to start with.
        skip: number of batches of that epoch that were consumed before.
        used: number of batches of an epoch after which the trainer ends it; None for all. The last update is of the
            batches that are left there.
    """

    def __init__(
        self,
        plan: Plan,
        rank: int = 0,
        world_size: int = 1,
        accumulate: int = 1,
        epoch: int = 0,
        skip: int = 0,
        used: int | None = None,
    ) -> None:
        self.plan, self.rank, self.world_size, self.accumulate = plan, rank, world_size, accumulate
        self.epoch, self.skip = epoch, skip
        self.used = len(plan) if used is None else used

    @property
    def sampler(self) -> PlanSampler:
        """This object, on which Lightning calls `set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Move to an epoch; a new one starts with its first batch."""
        if epoch != self.epoch:
            self.epoch, self.skip = epoch, 0

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[PlanItem]:
        batches = self.plan.epoch(self.epoch)
        units = np.array([self.plan.units[batch].sum() for batch in batches])
        for position in range(self.skip, self.used):
            window = position // self.accumulate * self.accumulate
            of_update = slice(window, min(window + self.accumulate, self.used))
            own = batches[position][self.rank :: self.world_size]
            yield PlanItem(
                indices=(own if len(own) else batches[position][:1]).tolist(),
                loss_denominator=int(units[of_update].sum()),
                is_dummy=len(own) == 0,
            )


def digest(head: str, *arrays: np.ndarray) -> str:
    """A short digest of a text and the content of arrays."""
    return hashlib.sha256(head.encode() + b"".join(array.tobytes() for array in arrays)).hexdigest()[:16]


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

    A batch may extend over several buckets, so that no bucket ends with a small batch.
    """
    charged = np.repeat(sorted_lengths[buckets[1:] - 1], np.diff(buckets))  # (N,) longest length of its bucket
    cuts = [0]
    while cuts[-1] < len(charged):
        begin = cuts[-1]
        costs = charged[begin : begin + budget] * np.arange(1, min(budget, len(charged) - begin) + 1)
        cuts.append(begin + max(1, int(np.searchsorted(costs, budget, side="right"))))
    return np.array(cuts)
