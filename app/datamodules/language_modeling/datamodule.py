"""The datamodule of language modelling: a file to rows of bytes, as streams for models with memory or as windows."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import Any

import numpy as np

from app.batches import ByteBatch, DataSpec
from app.datamodules.base import DataModule, Split
from app.datamodules.batching.batch_plan import BatchPlan, Plan
from app.datamodules.batching.stream_plan import StreamPlan
from app.datamodules.io.chunks import Chunks
from app.datamodules.io.splitting import log_fraction, sizes
from app.datamodules.io.texts import texts_to_predict
from app.datamodules.language_modeling.reader import ByteRange, read_byte_splits
from app.datamodules.language_modeling.split import PromptSplit, StreamSplit, WindowSplit
from app.errors import InputError
from app.progress import phase

log = logging.getLogger(__name__)


class ByteData(DataModule):
    """Any file, as bytes to model; token ids are the bytes themselves.

    With `memory` a score depends on `segment` and `eval_streams`, without it on `window` and `eval_stride`; it never
    depends on batch sizes or on the number of processes.

    Args:
        source: a file, plain or packed as .gz, .bz2 or a .zip of one file; a folder with one file each for train, val
            and test; pypi://package==version/path/in/wheel; https://...; module://pydoc_data.topics, the texts of
            Python's own help. A checksum may follow as #sha256=...
        val_source: source of the validation split, where it is not in source.
        test_source: source of the test split, where it is not in source.
        memory: train and score contiguous streams, segment by segment, for models that carry a memory along, such as
            xlnet; without it independent windows, as for gpt2.
        segment: positions of a training row; with memory also of an evaluation row.
        streams: rows of a whole training batch over all processes; with memory each row is a stream of its own.
        eval_streams: with memory, the number of streams that a split is cut into to score it: each begins with an empty
            memory.
        eval_batch_size: rows of an evaluation batch over all processes; it never changes a score.
        window: without memory, maximum number of positions of an evaluation row; by default the same as segment.
        eval_stride: without memory, number of bytes that an evaluation row scores; those before them are context. By
            default half a window.
        train_fraction: train on this fraction of the training bytes, the first ones; validation and test are whole.
        val_fraction: fraction of the bytes that become the validation split where the source has none: those before the
            test split.
        test_fraction: fraction of the bytes that become the test split where the source has none: the last ones.
        eval_limit: validate on this many bytes, the first ones, and probe as many, for speed; the test is always whole.
        predict_source: what predict continues: a file with one prompt per line, a csv, tsv, jsonl or parquet file with
            a column text, or - for standard input.
        **kwargs: the arguments of `DataModule`.
    """

    predict_chunk_size = 20  # a batch is one prompt: larger chunks would only wait longer

    def __init__(
        self,
        name: str,
        source: str,
        val_source: str | None = None,
        test_source: str | None = None,
        memory: bool = False,
        segment: int = 128,
        streams: int = 16,
        eval_streams: int = 16,
        eval_batch_size: int = 16,
        window: int | None = None,
        eval_stride: int | None = None,
        val_fraction: float = 0.05,
        test_fraction: float = 0.05,
        train_fraction: float = 1.0,
        eval_limit: int | None = None,
        predict_source: str | None = None,
        **kwargs: Any,
    ) -> None:
        for key, value in (
            ("segment", segment),
            ("streams", streams),
            ("eval_streams", eval_streams),
            ("eval_batch_size", eval_batch_size),
            ("window", window),
            ("eval_limit", eval_limit),
        ):
            if value is not None and value < 1:
                raise InputError(f"data.{key} is {value}; it must be >= 1")
        if kwargs.get("folds") is not None:
            raise InputError(
                f"data.folds is {kwargs['folds']}, and bytes in the order of a file are not examples that folds could "
                "be made of; set it to null"
            )
        super().__init__(
            name,
            source,
            val_fraction,
            test_fraction,
            split_seed=0,  # the splits are cut in the order of the file
            train_fraction=train_fraction,
            batch_tokens=None,
            batch_size=streams,
            eval_batch_factor=1,
            predict_source=predict_source,
            **kwargs,
        )
        if memory and (window is not None or eval_stride is not None):
            raise InputError(
                "data.window and data.eval_stride are for data.memory false; omit them, or set it to false"
            )
        self.window = segment if window is None else window
        self.eval_stride = max(1, self.window // 2) if eval_stride is None else eval_stride
        if not 1 <= self.eval_stride <= self.window:
            raise InputError(f"data.eval_stride is {eval_stride}; it must be 1 to data.window, which is {self.window}")
        self.own_sources = {"val": val_source, "test": test_source}
        self.memory, self.segment, self.streams = memory, segment, streams
        self.eval_streams, self.eval_batch_size, self.eval_limit = eval_streams, eval_batch_size, eval_limit

    @cached_property
    @phase("reading the data")
    def byte_ranges(self) -> dict[str, ByteRange]:
        """The bytes of the splits train, val and test; those of val up to `eval_limit`."""
        ranges = read_byte_splits(
            self.source, self.cache_dir, own_sources=self.own_sources, fractions=self.split_choice.fractions
        )
        log.info("%s: read %d bytes, kept %s", self.name, sum(map(len, ranges.values())), sizes(ranges))
        if (fraction := self.split_choice.train_fraction) < 1:
            whole = ranges["train"]
            if not (size := round(fraction * len(whole))):
                raise InputError(
                    f"data.train_fraction is {fraction}, which leaves none of {len(whole)} bytes; raise it"
                )
            ranges["train"] = whole.slice(0, size)
            log_fraction(self.name, ranges["train"], whole, "bytes", self.split_choice)
        val = ranges["val"]
        if self.eval_limit is not None and self.eval_limit < len(val):
            ranges["val"] = val.slice(0, self.eval_limit)
            which = f"the first {self.eval_limit} of {len(val)} bytes"
            log.info("%s: validation uses %s, and the train probe as many; the test is whole", self.name, which)
        return ranges

    @cached_property
    @phase("compressing the test split")
    def baselines(self) -> dict[str, float]:
        """Bits per byte of the compressors gzip and bzip2 on the test split."""
        return self.byte_ranges["test"].compressed_bits()

    @cached_property
    def data_spec(self) -> DataSpec:
        """The 256 bytes, the longest row of a model without memory, and the compressors' baselines."""
        return DataSpec(
            {"vocab_size": 256},
            max_length=None if self.memory else max(self.segment, self.window),
            has_streams=self.memory,
            baselines=self.baselines,
            batch=ByteBatch,
        )

    def export_spec(self) -> dict[str, Any]:
        """The compressors' baselines; predict needs nothing else, because bytes are bytes."""
        return {"baselines": self.baselines}

    def restore_spec(self, kept: dict[str, Any]) -> None:
        """Restore the baselines of a run."""
        self.baselines = dict(kept["baselines"])

    @cached_property
    def splits(self) -> dict[str, WindowSplit | StreamSplit]:
        """The splits, cut into rows."""
        train, val, test = self.byte_ranges.values()
        if not self.memory:
            return {
                "train": WindowSplit(train, self.segment, self.segment),
                "val": WindowSplit(val, self.window, self.eval_stride),
                "test": WindowSplit(test, self.window, self.eval_stride),
            }
        for key, split in (("streams", "train"), ("eval_streams", "val"), ("eval_streams", "test")):
            streams, size = getattr(self, key), len(self.byte_ranges[split])
            if size < streams:
                raise InputError(f"data.{key} is {streams}, but the {split} split has {size} bytes; lower it")
        return {
            "train": StreamSplit(train, self.streams, self.segment),
            "val": StreamSplit(val, self.eval_streams, self.segment),
            "test": StreamSplit(test, self.eval_streams, self.segment),
        }

    @cached_property
    def probe(self) -> WindowSplit | StreamSplit:
        """A fixed subset of the training split, as large as the validation split and scored as it is, for every seed.

        It is spread evenly over the training split: with memory, the beginnings of `eval_streams` streams (if `streams`
        is a multiple of that, training begins there, too, and sees them first); without, evenly spaced windows.
        """
        train, val = self.byte_ranges["train"], self.splits["val"]
        if isinstance(val, StreamSplit):
            total = min(len(train), len(self.byte_ranges["val"]))
            return StreamSplit(train, self.eval_streams, self.segment, total)
        windows = WindowSplit(train, self.window, self.eval_stride)
        size = min(len(windows.lengths), len(val.lengths))
        return windows.subset(np.arange(size) * len(windows.lengths) // size)

    def batch_size_settings(self, training: bool) -> str:
        """The number of rows of a batch, or their length."""
        if training:
            return f"data.streams ({self.streams}) or data.segment ({self.segment})"
        return f"data.eval_batch_size ({self.eval_batch_size})"

    def predict_splits(self) -> Chunks[PromptSplit]:
        """The prompts of `predict_source`, those of standard input as they come; an empty line is an empty prompt."""
        chunks = texts_to_predict(
            self.required_predict_source(),
            "text",
            self.predict_encoding,
            chunk_size=self.predict_chunk_size,
            prepare=str,  # white space around a prompt is part of it
        )
        return chunks.map_numbered(PromptSplit)

    def _plan(self, split: Split, seed: int | None) -> Plan:
        size = self.eval_batch_size if seed is None else self.streams
        if isinstance(split, StreamSplit):
            return StreamPlan(split.units, split.streams, size)
        if isinstance(split, PromptSplit):
            size = 1
        return BatchPlan(np.ones_like(split.lengths), size, seed, split.units)
