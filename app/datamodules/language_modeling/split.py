"""Rows of bytes: independent windows, contiguous streams, and prompts.

The input at a position is the byte before the one to predict there, so every byte of a split, including its first one,
is a target exactly once, however the split is cut into rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from app.batches import ByteBatch
from app.datamodules.batching.batch_plan import PlanItem
from app.datamodules.batching.padding import right_pad
from app.datamodules.language_modeling.reader import NEWLINE, ByteRange


class WindowSplit:
    """Independent windows, for models without memory.

    Window k scores the bytes from k * stride up to (k + 1) * stride. Before them it has `window - stride` bytes of
    context, or fewer at the beginning of the split.

    Args:
        content: the bytes of the split.
        window: maximum number of positions of a row.
        stride: number of bytes that a window scores; equal to `window` for training, where no byte is read twice.
        chosen: numbers of the windows that make up this split; by default all.
    """

    def __init__(self, content: ByteRange, window: int, stride: int, chosen: np.ndarray | None = None) -> None:
        assert 1 <= stride <= window, (stride, window)
        self.content, self.window, self.stride = content, window, stride
        self.chosen = np.arange(-(-len(content) // stride)) if chosen is None else chosen
        self._begins = self.chosen * stride  # (N,) first target of each window
        self._context = np.minimum(self._begins, window - stride)
        self.units = np.minimum(stride, len(content) - self._begins)
        self.lengths = self._context + self.units

    def batch(self, item: PlanItem) -> ByteBatch:
        """The windows of a plan item, right-padded to the longest."""
        rows = []
        for index in item.indices:
            begin, context = int(self._begins[index]), int(self._context[index])
            end = begin + int(self.units[index])
            labels = self.content.data[begin - context : end].astype(np.int64)
            labels[:context] = ByteBatch.IGNORED
            rows.append((self.content.inputs(begin - context, end), labels))
        return _padded(item, rows, [-1] * len(rows), begins=True)

    def subset(self, indices: np.ndarray) -> WindowSplit:
        """The windows at `indices`."""
        return WindowSplit(self.content, self.window, self.stride, self.chosen[indices])

    def fingerprint(self) -> str:
        """A digest of the bytes and of how they are cut."""
        digest = hashlib.sha256(f"windows|{self.content.digest()}|{self.window}|{self.stride}|".encode())
        digest.update(self.chosen.tobytes())
        return digest.hexdigest()


class StreamSplit:
    """Contiguous streams, for models that carry a memory from one segment of a stream to the next.

    The split is cut into streams whose lengths differ by at most one, the first ones longer. Example t * streams + s is
    segment t of stream s. Where a stream ends before the longest one (in the last step only), its example is a row
    without targets, so that every step has the same rows. The `index` of a batch numbers the segments in the order of
    the text instead; that of a row without targets is -1.

    Args:
        content: the bytes of the split.
        streams: number of streams.
        segment: number of positions of a row.
        total: number of bytes of all streams together, if only the beginning of each stream is used.
    """

    def __init__(self, content: ByteRange, streams: int, segment: int, total: int | None = None) -> None:
        self.content, self.streams, self.segment = content, streams, segment
        whole = _even(len(content), streams)
        taken = whole if total is None else _even(total, streams)
        assert (taken <= whole).all(), (total, len(content))
        self._begins = np.cumsum(whole) - whole  # (streams,)
        self._taken = taken
        steps = np.arange(-(-int(taken.max()) // segment))
        self.units = np.clip(taken - steps[:, None] * segment, 0, segment).reshape(-1)
        self.lengths = self.units
        of_stream = np.count_nonzero(self.units.reshape(-1, streams), axis=0)
        self._first = np.cumsum(of_stream) - of_stream  # (streams,) segments of the streams before

    def batch(self, item: PlanItem) -> ByteBatch:
        """The next segment of some streams, right-padded to the longest."""
        steps, streams = np.divmod(item.indices, self.streams)
        assert (steps == steps[0]).all(), "the rows of a batch are of the same step"
        rows = []
        for begin, units in zip(self._begins[streams] + steps * self.segment, self.units[item.indices], strict=True):
            rows.append((self.content.inputs(begin, begin + units), self.content.data[begin : begin + units]))
        batch = _padded(item, rows, streams.tolist(), begins=bool(steps[0] == 0))
        number = np.where(self.units[item.indices] > 0, self._first[streams] + steps, -1)
        return replace(batch, index=torch.from_numpy(number))

    def subset(self, indices: np.ndarray) -> StreamSplit:
        """Not supported: a segment depends on those before it."""
        raise NotImplementedError("a segment of a stream depends on those before it; pass a total to StreamSplit")

    def fingerprint(self) -> str:
        """A digest of the bytes and of how they are cut."""
        geometry = f"streams|{self.content.digest()}|{self.streams}|{self.segment}|{self._taken.sum()}"
        return hashlib.sha256(geometry.encode()).hexdigest()


class PromptSplit:
    """Prompts to continue, one per batch, so that no row needs padding.

    A row is a newline, as it is assumed before the first byte of a split, and the text in utf-8; so an empty text is a
    row of one byte.

    Args:
        texts: the prompts.
        first: number of the first prompt among all that are read, so that what is sampled for a prompt does not depend
            on how many are read at a time.
    """

    def __init__(self, texts: Sequence[str], first: int = 0) -> None:
        self.first = first
        self.rows = [np.frombuffer(bytes([NEWLINE]) + text.encode(), np.uint8) for text in texts]
        self.lengths = np.array([len(row) for row in self.rows], dtype=np.int64)
        self.units = np.zeros_like(self.lengths)

    def batch(self, item: PlanItem) -> ByteBatch:
        """One prompt, all of it context; `index` is its number among all prompts."""
        assert len(item.indices) == 1, item.indices
        row = self.rows[item.indices[0]]
        batch = _padded(item, [(row, np.full(len(row), ByteBatch.IGNORED))], [-1], begins=True)
        batch.index += self.first
        return batch

    def subset(self, indices: np.ndarray) -> PromptSplit:
        """The prompts at `indices`."""
        return PromptSplit([self.rows[index][1:].tobytes().decode() for index in indices], self.first)

    def fingerprint(self) -> str:
        """A digest of the prompts."""
        return hashlib.sha256(b"".join(row.tobytes() for row in self.rows)).hexdigest()


def _even(total: int, count: int) -> np.ndarray:
    """(count,) int64: `total`, divided into shares that differ by at most one, the first ones larger."""
    return total // count + (np.arange(count) < total % count)


def _padded(
    item: PlanItem, rows: Sequence[tuple[np.ndarray, np.ndarray]], streams: Sequence[int], begins: bool
) -> ByteBatch:
    """The batch of rows of (inputs, labels)."""
    labels = right_pad([labels for _, labels in rows], ByteBatch.IGNORED)
    return ByteBatch(
        index=torch.tensor(item.indices),
        loss_denominator=item.loss_denominator,
        is_dummy=item.is_dummy,
        input_ids=right_pad([inputs for inputs, _ in rows], 0),
        labels=labels,
        stream=torch.tensor(streams),
        begins=begins,
        target_bytes=int((labels != ByteBatch.IGNORED).sum()),
    )
