"""The batch plan: a pure function that no shuffle, process count or resumption changes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.datamodules.batching.batch_plan import BatchPlan, PlanSampler

lengths_lists = st.lists(st.integers(1, 60), min_size=1, max_size=200)


@settings(max_examples=60, deadline=None)
@given(lengths_lists, st.integers(60, 400), st.integers(0, 5), st.integers(0, 5))
def test_every_epoch_holds_each_example_once_within_the_budget(lengths, budget, seed, epoch):
    plan = BatchPlan(lengths, budget, seed)
    batches = plan.epoch(epoch)
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    assert all(len(batch) * max(lengths[i] for i in batch) <= budget for batch in batches)
    assert len(batches) == len(plan)


def test_equal_arguments_give_equal_batches_and_other_epochs_and_seeds_other_ones():
    lengths = np.random.default_rng(0).integers(3, 40, 500)

    def batches(seed, epoch):
        return [batch.tolist() for batch in BatchPlan(lengths, 256, seed).epoch(epoch)]

    assert batches(1, 0) == batches(1, 0)
    assert batches(1, 0) != batches(1, 1)
    assert batches(1, 0) != batches(2, 0)


def test_companions_change_between_epochs():
    """Shuffling moves examples between batches, not only batches within the epoch."""
    plan = BatchPlan(np.random.default_rng(0).integers(3, 40, 2000), 512, seed=1)
    first = {frozenset(batch.tolist()) for batch in plan.epoch(0)}
    second = {frozenset(batch.tolist()) for batch in plan.epoch(1)}
    assert len(first & second) < 0.05 * len(first)


def test_evaluation_keeps_the_order_of_lengths():
    plan = BatchPlan([5, 1, 3], 5, seed=None)
    assert np.concatenate(plan.epoch(0)).tolist() == [1, 2, 0]


def test_padding_efficiency_is_real_over_padded_tokens():
    assert BatchPlan([2, 4], 8, seed=None).padding_efficiency == pytest.approx(6 / 8)


def test_sentence_like_lengths_are_mostly_real_tokens():
    lengths = np.clip(np.random.default_rng(0).normal(22, 9, 8000).astype(int), 3, 60)
    assert BatchPlan(lengths, 1536, seed=1).padding_efficiency >= 0.90


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_processes_share_each_batch_without_overlap_and_agree_on_its_units(world_size, accumulate):
    lengths = np.random.default_rng(0).integers(1, 20, 97)
    units = lengths * 2
    plan = BatchPlan(lengths, 40, seed=3, units=units)
    shares = [list(PlanSampler(plan, rank, world_size, accumulate)) for rank in range(world_size)]
    assert {len(share) for share in shares} == {len(plan)}
    whole = plan.epoch(0)
    for position, items in enumerate(zip(*shares, strict=True)):
        own = [index for item in items if not item.is_dummy for index in item.indices]
        assert sorted(own) == sorted(whole[position].tolist())
        window = position // accumulate * accumulate
        expected = sum(int(units[batch].sum()) for batch in whole[window : window + accumulate])
        assert {item.loss_denominator for item in items} == {expected}


def test_a_process_without_an_example_gets_a_filler():
    (item,) = PlanSampler(BatchPlan([4], 4, seed=None), rank=1, world_size=2)
    assert item.is_dummy and item.indices == [0]


def test_skipping_goes_on_with_the_same_batches_and_a_new_epoch_ends_it():
    plan = BatchPlan(np.arange(1, 50), 100, seed=1)
    whole = [item.indices for item in PlanSampler(plan, epoch=2)]
    sampler = PlanSampler(plan, epoch=2, skip=5)
    sampler.set_epoch(2)
    assert [item.indices for item in sampler] == whole[5:]
    sampler.set_epoch(3)
    assert [item.indices for item in sampler] == [item.indices for item in PlanSampler(plan, epoch=3)]


@pytest.mark.parametrize(
    ("used", "skip", "windows"),
    [(None, 0, [2, 2, 1]), (4, 0, [2, 2]), (3, 0, [2, 1]), (1, 0, [1]), (None, 2, [2, 1]), (3, 2, [1])],
)
def test_an_update_is_divided_by_its_own_examples_wherever_it_is_cut(used, skip, windows):
    """By a limit of the batches of an epoch, or at its end."""
    plan = BatchPlan([3] * 10, budget=6, seed=0)
    items = list(PlanSampler(plan, accumulate=2, skip=skip, used=used))
    assert len(plan) == 5 and [item.loss_denominator for item in items] == [2 * n for n in windows for _ in range(n)]


def test_fingerprint_tells_plans_apart():
    fingerprints = {
        BatchPlan(lengths, budget, seed, units).fingerprint
        for lengths, budget, seed, units in [
            ([1, 2, 3], 6, 1, None),
            ([1, 2, 4], 6, 1, None),
            ([1, 2, 3], 7, 1, None),
            ([1, 2, 3], 6, 2, None),
            ([1, 2, 3], 6, 1, np.array([1, 1, 2])),
        ]
    }
    assert len(fingerprints) == 5
    assert BatchPlan([1, 2, 3], 6, 1).fingerprint == BatchPlan([1, 2, 3], 6, 1).fingerprint


@pytest.mark.parametrize(
    ("lengths", "budget", "says"), [([], 4, "no examples"), ([5], 4, "5 tokens"), ([0], 4, "length 0")]
)
def test_what_cannot_be_planned_is_refused(lengths, budget, says):
    with pytest.raises(ValueError, match=says):
        BatchPlan(lengths, budget, seed=1)
