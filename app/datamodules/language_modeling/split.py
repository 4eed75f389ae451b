"""Rows of bytes out of a part: independent windows, contiguous streams, and prompts.

The input at a position is the byte before the one that is to be predicted there, so every byte of a part, its first one
too, is a target exactly once, however the part is cut.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch

from app.batches import ByteBatch
from app.datamodules.batching.batch_plan import PlanItem
from app.datamodules.language_modeling.reader import NEWLINE, BytePart


class WindowSplit:
    """Independent windows, for models without memory.

    Window k scores the bytes from k * stride up to (k + 1) * stride. Before them it has `window - stride` bytes of
    context, as far as the part has them.

    Args:
        part: the bytes.
        window: most positions of a row.
        stride: bytes that a window scores; equal to `window` for training, where no byte is read twice.
        chosen: numbers of the windows that make up this split; by default all.
    """

    def __init__(self, part: BytePart, window: int, stride: int, chosen: np.ndarray | None = None) -> None:
        assert 1 <= stride <= window, (stride, window)
        self.part, self.window, self.stride = part, window, stride
        self.chosen = np.arange(-(-len(part) // stride)) if chosen is None else chosen
        self._begins = self.chosen * stride  # (N,) first target of each window
        self._context = np.minimum(self._begins, window - stride)
        self.units = np.minimum(stride, len(part) - self._begins)
        self.lengths = self._context + self.units

    def batch(self, item: PlanItem) -> ByteBatch:
        """The windows of a plan item, right-padded to the longest."""
        rows = []
        for index in item.indices:
            begin, context = int(self._begins[index]), int(self._context[index])
            end = begin + int(self.units[index])
            labels = self.part.data[begin - context : end].astype(np.int64)
            labels[:context] = ByteBatch.IGNORED
            rows.append((self.part.inputs(begin - context, end), labels))
        return _padded(item, rows, [-1] * len(rows), begins=True)

    def subset(self, indices: np.ndarray) -> WindowSplit:
        """The windows at `indices`."""
        return WindowSplit(self.part, self.window, self.stride, self.chosen[indices])

    def fingerprint(self) -> str:
        """Digest of the part's bytes and of how they are cut."""
        digest = hashlib.sha256(f"windows|{self.part.digest()}|{self.window}|{self.stride}|".encode())
        digest.update(self.chosen.tobytes())
        return digest.hexdigest()


class StreamSplit:
    """Contiguous streams, for models that carry a memory from one segment of a stream to the next.

    The part is cut into streams whose lengths differ by at most one, the first ones longer. Example t * streams + s is
    segment t of stream s. Where a stream has ended before the longest one (in the last step only), its example is a row
    without targets, so that every step has the same rows.

    Args:
        part: the bytes.
        streams: how many streams.
        segment: positions of a row.
        total: bytes of all streams together; fewer than the part has take of each stream its beginning.
    """

    def __init__(self, part: BytePart, streams: int, segment: int, total: int | None = None) -> None:
        self.part, self.streams, self.segment = part, streams, segment
        whole = _even(len(part), streams)
        taken = whole if total is None else _even(total, streams)
        assert (taken <= whole).all(), (total, len(part))
        self._begins = np.cumsum(whole) - whole  # (streams,)
        self._taken = taken
        steps = np.arange(-(-int(taken.max()) // segment))
        self.units = np.clip(taken - steps[:, None] * segment, 0, segment).reshape(-1)
        self.lengths = self.units

    def batch(self, item: PlanItem) -> ByteBatch:
        """The next segment of some streams, right-padded to the longest."""
        steps, streams = np.divmod(item.indices, self.streams)
        assert (steps == steps[0]).all(), "the rows of a batch stand at the same step"
        rows = []
        for begin, units in zip(self._begins[streams] + steps * self.segment, self.units[item.indices], strict=True):
            rows.append((self.part.inputs(begin, begin + units), self.part.data[begin : begin + units]))
        return _padded(item, rows, streams.tolist(), begins=bool(steps[0] == 0))

    def subset(self, indices: np.ndarray) -> StreamSplit:
        """Nothing that makes sense: a segment is what it is by those before it."""
        raise NotImplementedError("segments of streams do not stand alone; give StreamSplit a total instead")

    def fingerprint(self) -> str:
        """Digest of the part's bytes and of how they are cut."""
        geometry = f"streams|{self.part.digest()}|{self.streams}|{self.segment}|{self._taken.sum()}"
        return hashlib.sha256(geometry.encode()).hexdigest()


class PromptSplit:
    """Texts to go on with, one a batch, so that no row needs padding.

    A row is the text's utf-8 behind a newline, which stands before it as before the first byte of a part; so an empty
    text too is a row of one byte.

    Args:
        texts: the prompts.
        first: number of the first one among all that were read, so that what is drawn for a prompt does not depend on
            how many come at a time.
    """

    def __init__(self, texts: Sequence[str], first: int = 0) -> None:
        self.first = first
        self.rows = [np.frombuffer(bytes([NEWLINE]) + text.encode(), np.uint8) for text in texts]
        self.lengths = np.array([len(row) for row in self.rows], dtype=np.int64)
        self.units = np.zeros_like(self.lengths)

    def batch(self, item: PlanItem) -> ByteBatch:
        """One prompt, all of it context; `index` is its number among all."""
        assert len(item.indices) == 1, item.indices
        row = self.rows[item.indices[0]]
        batch = _padded(item, [(row, np.full(len(row), ByteBatch.IGNORED))], [-1], begins=True)
        batch.index += self.first
        return batch

    def subset(self, indices: np.ndarray) -> PromptSplit:
        """The prompts at `indices`."""
        return PromptSplit([self.rows[index][1:].tobytes().decode() for index in indices], self.first)

    def fingerprint(self) -> str:
        """Digest of the prompts."""
        return hashlib.sha256(b"".join(row.tobytes() for row in self.rows)).hexdigest()


def _even(total: int, count: int) -> np.ndarray:
    """(count,) int64, `total` in shares that differ by at most one, the first ones larger."""
    return total // count + (np.arange(count) < total % count)


def _padded(
    item: PlanItem, rows: Sequence[tuple[np.ndarray, np.ndarray]], streams: Sequence[int], begins: bool
) -> ByteBatch:
    """The batch of rows of (inputs, labels); at least one position wide."""
    width = max(1, *(len(inputs) for inputs, _ in rows))
    input_ids = np.zeros((len(rows), width), dtype=np.int64)
    all_labels = np.full((len(rows), width), ByteBatch.IGNORED, dtype=np.int64)
    for place, (inputs, labels) in enumerate(rows):
        input_ids[place, : len(inputs)] = inputs
        all_labels[place, : len(labels)] = labels
    return ByteBatch(
        index=torch.tensor(item.indices),
        loss_denominator=item.loss_denominator,
        is_dummy=item.is_dummy,
        input_ids=torch.from_numpy(input_ids),
        labels=torch.from_numpy(all_labels),
        stream=torch.tensor(streams),
        begins=begins,
        target_bytes=int((all_labels != ByteBatch.IGNORED).sum()),
    )
