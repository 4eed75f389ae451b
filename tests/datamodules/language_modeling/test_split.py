"""Windows, streams and prompts: every byte once as a target, and the byte before it as its input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.batches import ByteBatch
from app.datamodules.batching.batch_plan import PlanItem
from app.datamodules.language_modeling.reader import ByteRange
from app.datamodules.language_modeling.split import PromptSplit, StreamSplit, WindowSplit

SIZE = 400
sizes, small = st.integers(1, 200), st.integers(1, 40)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("bytes") / "raw"
    path.write_bytes(np.random.default_rng(0).integers(0, 256, SIZE, dtype=np.uint8).tobytes())
    return path


def part_of(file, size, begin=7):
    """A part out of the middle of a file."""
    return ByteRange(file, 0, SIZE).slice(begin, begin + size)


def rows(split, indices):
    """(inputs, targets) of each of some examples where a label counts, and the batch."""
    batch = split.batch(PlanItem(list(indices), loss_denominator=5, is_dummy=False))
    counts = batch.labels != ByteBatch.IGNORED
    assert batch.target_bytes == batch.tokens == int(counts.sum()) == int(split.units[list(indices)].sum())
    assert len(batch.index) == len(indices) and batch.input_ids.dtype == batch.labels.dtype == counts.long().dtype
    return [
        (batch.input_ids[r][counts[r]].tolist(), batch.labels[r][counts[r]].tolist()) for r in range(len(counts))
    ], batch


def check_covered(part, found):
    """`found` is the part's bytes in order, each from the byte before."""
    content = [part.before, *part.data.tolist()]
    assert [byte for _, targets in found for byte in targets] == content[1:]
    assert [byte for inputs, _ in found for byte in inputs] == content[:-1]


@settings(max_examples=80, deadline=None)
@given(sizes, small, st.data())
def test_windows_score_every_byte_once_with_the_context_that_there_is(file, size, window, data):
    stride = data.draw(st.integers(1, window))
    part = part_of(file, size)
    split = WindowSplit(part, window, stride)
    found, batch = rows(split, range(len(split.units)))
    check_covered(part, found)
    content = [part.before, *part.data.tolist()]
    assert batch.begins and set(batch.stream.tolist()) == {-1} and batch.index.tolist() == list(range(len(found)))
    assert batch.input_ids.shape[1] == split.lengths.max() <= window
    for k, length in enumerate(split.lengths):
        begin = max(0, k * stride - (window - stride))
        end = min((k + 1) * stride, size)
        assert length == end - begin
        assert batch.input_ids[k, :length].tolist() == content[begin:end]
        assert not batch.input_ids[k, length:].any()
        assert (batch.labels[k, : k * stride - begin] == -100).all() and (batch.labels[k, length:] == -100).all()


@settings(max_examples=80, deadline=None)
@given(sizes, small, small)
def test_streams_are_contiguous_and_cover_every_byte_once(file, size, streams, segment):
    part = part_of(file, size)
    split = StreamSplit(part, streams, segment)
    longest = -(-size // streams)
    steps = -(-longest // segment)
    assert len(split.units) == len(split.lengths) == steps * streams
    found, numbers = [[] for _ in range(streams)], [[] for _ in range(streams)]
    for step in range(steps):
        step_rows, batch = rows(split, range(step * streams, (step + 1) * streams))
        assert batch.begins == (step == 0) and batch.stream.tolist() == list(range(streams))
        assert batch.input_ids.shape == (streams, split.units.reshape(steps, streams)[step].max())
        for stream, row in enumerate(step_rows):
            assert len(row[0]) == segment or step == steps - 1 or size < streams
            found[stream].append(row)
            if row[1]:
                numbers[stream].append(batch.index[stream].item())
            else:
                assert batch.index[stream] == -1
    lengths = [sum(len(targets) for _, targets in stream) for stream in found]
    assert lengths == sorted(lengths, reverse=True) and max(lengths) - min(lengths) <= 1
    check_covered(part, [row for stream in found for row in stream])
    in_order = [number for stream in numbers for number in stream]
    assert in_order == list(range(len(in_order))), "segments are numbered in the order of the text"


def test_a_stream_that_has_ended_is_a_row_without_targets(file):
    split = StreamSplit(part_of(file, 9), streams=2, segment=4)
    assert split.units.reshape(-1, 2).tolist() == [[4, 4], [1, 0]]
    (_, last), batch = rows(split, [2, 3])
    assert last == ([], []) and batch.labels.tolist()[1] == [-100] and batch.target_bytes == 1
    batch = split.batch(PlanItem([3], 1, False))  # a process that has none but such a row
    assert batch.input_ids.shape == (1, 1) and batch.target_bytes == 0


@settings(max_examples=40, deadline=None)
@given(sizes, small, small, st.data())
def test_a_total_takes_the_beginning_of_each_stream(file, size, streams, segment, data):
    total = data.draw(st.integers(1, size))
    part = part_of(file, size)
    whole, split = StreamSplit(part, streams, segment), StreamSplit(part, streams, segment, total)
    assert split.units.sum() == total
    for index in np.flatnonzero(split.units):
        ((inputs, targets),), _ = rows(split, [index])
        ((all_inputs, all_targets),), _ = rows(whole, [index])
        assert inputs == all_inputs[: len(inputs)] and targets == all_targets[: len(targets)]


def test_bytes_are_read_from_the_file_and_never_gathered(file):
    for split in (WindowSplit(part_of(file, 90), 8, 4), StreamSplit(part_of(file, 90), 3, 8)):
        split.fingerprint()
        held = [value for value in vars(split).values() if isinstance(value, np.ndarray)]
        assert all(array.dtype == np.int64 for array in held) and isinstance(split.content.data, np.memmap)


def test_subsets(file):
    split = WindowSplit(part_of(file, 90), 8, 4)
    chosen = split.subset(np.array([3, 20])).subset(np.array([1]))
    assert chosen.lengths.tolist() == [8] and rows(chosen, [0])[0] == rows(split, [20])[0]
    with pytest.raises(NotImplementedError, match="depends on those before it"):
        StreamSplit(part_of(file, 90), 3, 8).subset(np.array([1]))
    assert [row.tobytes() for row in PromptSplit(["a", "é", ""]).subset(np.array([1, 2])).rows] == [
        "\né".encode(),
        b"\n",
    ]


def test_fingerprints_tell_bytes_and_geometry_apart(file):
    part = part_of(file, 90)
    splits = [
        WindowSplit(part, 8, 4), WindowSplit(part, 8, 8), WindowSplit(part, 9, 4), WindowSplit(part_of(file, 89), 8, 4),
        WindowSplit(part_of(file, 90, begin=8), 8, 4), WindowSplit(part, 8, 4).subset(np.arange(22)),
        StreamSplit(part, 3, 8), StreamSplit(part, 4, 8), StreamSplit(part, 3, 9), StreamSplit(part, 3, 8, total=89),
        PromptSplit(["a"]), PromptSplit(["b"]),
    ]  # fmt: skip
    assert len({split.fingerprint() for split in splits}) == len(splits)
    assert WindowSplit(part, 8, 4).fingerprint() == WindowSplit(part_of(file, 90), 8, 4).fingerprint()


def test_a_prompt_stands_behind_a_newline_and_counts_nothing():
    split = PromptSplit(["Grüße", ""])
    batch = split.batch(PlanItem([0], 0, False))
    assert bytes(batch.input_ids[0].tolist()).decode() == "\nGrüße"
    assert (batch.labels == -100).all() and batch.labels.shape == batch.input_ids.shape
    assert batch.tokens == 0 and batch.begins and batch.stream.tolist() == [-1]
    assert split.batch(PlanItem([1], 0, False)).input_ids.tolist() == [[10]]
    assert split.lengths.tolist() == [8, 1]


def test_a_filler_counts_no_bytes(file):
    batch = WindowSplit(part_of(file, 90), 8, 4).batch(PlanItem([0], 9, is_dummy=True))
    assert (batch.tokens, batch.target_bytes) == (0, 4)
