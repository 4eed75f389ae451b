"""Plans of streams: every process keeps its own, every byte counts once, and nothing depends on who computes it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.datamodules.batching.batch_plan import PlanSampler
from app.datamodules.batching.stream_plan import StreamPlan
from app.datamodules.language_modeling.reader import ByteRange
from app.datamodules.language_modeling.split import StreamSplit

SIZE = 300
small = st.integers(1, 20)


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    file = tmp_path_factory.mktemp("bytes") / "raw"
    file.write_bytes(np.random.default_rng(0).integers(0, 256, SIZE, dtype=np.uint8).tobytes())
    return ByteRange(file, 0, SIZE)


def units_of(size, streams, segment):
    """As StreamSplit cuts them."""
    lengths = size // streams + (np.arange(streams) < size % streams)
    steps = np.arange(-(-lengths[0] // segment))[:, None]
    return np.clip(lengths - steps * segment, 0, segment).reshape(-1)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, SIZE), small, small, small, st.integers(1, 3))
def test_ranks_keep_their_streams_and_score_every_byte_once(part, size, streams, segment, batch_size, world_size):
    part = part.slice(0, size)
    split = StreamSplit(part, streams, segment)
    plan = StreamPlan(split.units, streams, batch_size)
    content, seen = [part.before, *part.data.tolist()], [[] for _ in range(streams)]
    for rank in range(world_size):
        kept = None  # the streams that a model's memory is of
        for item in PlanSampler(plan, rank, world_size):
            batch = split.batch(item)
            if batch.begins:
                kept = batch.stream.tolist()
            assert batch.stream.tolist() == kept  # the same rows in the same order, fillers too
            if item.is_dummy:
                continue
            for row, stream in enumerate(kept):
                counts = batch.labels[row] != -100
                seen[stream] += zip(
                    batch.input_ids[row][counts].tolist(), batch.labels[row][counts].tolist(), strict=True
                )
    assert sum(seen, []) == list(zip(content[:-1], content[1:], strict=True))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, SIZE), small, small, small)
def test_batches_of_a_group_have_the_same_rows_and_something_to_score(size, streams, segment, batch_size):
    units = units_of(size, streams, segment)
    plan = StreamPlan(units, streams, batch_size)
    batches = plan.epoch(0)
    assert len(batches) == len(plan)
    assert all(units[batch].sum() > 0 and len(batch) <= batch_size for batch in batches)
    assert sum(units[batch].sum() for batch in batches) == size
    for before, after in zip(batches[:-1], batches[1:], strict=True):
        assert (after - before == streams).all() if after[0] >= streams else after[0] == before[-1] % streams + 1


def test_training_takes_the_same_segment_of_every_stream_in_every_epoch():
    plan = StreamPlan(units_of(50, 4, 5), streams=4, batch_size=4)
    assert [batch.tolist() for batch in plan.epoch(0)] == np.arange(12).reshape(3, 4).tolist()
    assert np.array_equal(plan.epoch(0), plan.epoch(7))


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_processes_agree_on_the_units_of_an_update(world_size, accumulate):
    plan = StreamPlan(units_of(203, 5, 7), streams=5, batch_size=5)
    shares = [list(PlanSampler(plan, rank, world_size, accumulate)) for rank in range(world_size)]
    batches = plan.epoch(0)
    for position, items in enumerate(zip(*shares, strict=True)):
        window = position // accumulate * accumulate
        assert {item.loss_denominator for item in items} == {
            sum(int(plan.units[batch].sum()) for batch in batches[window : window + accumulate])
        }


def test_a_process_without_a_stream_copies_the_first_of_the_group_at_every_step():
    plan = StreamPlan(units_of(60, 3, 10), streams=3, batch_size=2)
    items = list(PlanSampler(plan, rank=1, world_size=2))
    assert [(item.indices, item.is_dummy) for item in items] == [
        ([1], False), ([4], False), ([2], True), ([5], True)
    ]  # fmt: skip


def test_skipping_goes_on_where_the_run_stood_and_a_new_epoch_begins_anew():
    plan = StreamPlan(units_of(200, 4, 5), streams=4, batch_size=4)
    whole = [item.indices for item in PlanSampler(plan, rank=1, world_size=2)]
    sampler = PlanSampler(plan, rank=1, world_size=2, epoch=3, skip=4)
    sampler.set_epoch(3)
    assert [item.indices for item in sampler] == whole[4:]
    sampler.set_epoch(4)
    assert [item.indices for item in sampler] == whole


def test_padding_efficiency_is_real_over_padded_bytes():
    assert StreamPlan(units_of(9, 2, 4), 2, 2).padding_efficiency == pytest.approx(9 / 10)


def test_fingerprint_tells_plans_apart():
    arguments = [(50, 4, 5, 4), (51, 4, 5, 4), (50, 5, 5, 4), (50, 4, 6, 4), (50, 4, 5, 2)]
    prints = {StreamPlan(units_of(size, s, segment), s, batch).fingerprint for size, s, segment, batch in arguments}
    assert len(prints) == len(arguments)
    assert StreamPlan(units_of(50, 4, 5), 4, 4).fingerprint in prints
