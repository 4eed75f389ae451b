"""Cutting parts where a dataset has none: the same for every run, without loss, and without leaks between parts."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.datamodules.io.splitting import complete_splits
from app.errors import InputError

FRACTIONS = {"val": 0.1, "test": 0.2}


class Numbers(list):
    """Examples that are numbers."""

    def subset(self, indices: np.ndarray) -> "Numbers":
        return Numbers(self[index] for index in indices)


def test_the_cut_is_this_one_for_ever():
    parts = complete_splits({"all": Numbers(range(20))}, FRACTIONS, seed=3)
    order = np.random.default_rng(3).permutation(20)
    assert parts == {"val": sorted(order[:2]), "test": sorted(order[2:6]), "train": sorted(order[6:])}
    assert list(parts) == ["train", "val", "test"]
    assert (parts["val"], parts["test"]) == ([12, 16], [3, 8, 13, 18])


def test_published_parts_stay_as_they_are():
    published = {"train": Numbers(range(10)), "val": Numbers([70]), "test": Numbers([80])}
    assert complete_splits(published, FRACTIONS, seed=0) == published
    groups = np.zeros(10, dtype=np.int64)
    assert complete_splits(published, FRACTIONS, seed=0, groups=groups) == published
    del published["val"]
    parts = complete_splits(published, FRACTIONS, seed=0)
    assert parts["test"] == [80] and len(parts["val"]) == 1
    assert sorted(parts["train"] + parts["val"]) == list(range(10))


@given(st.lists(st.integers(0, 30), min_size=12), st.integers(0, 9))
def test_a_group_stands_in_one_part_and_nothing_is_lost(groups, seed):
    assume(len(set(groups)) >= 10)
    parts = complete_splits({"all": Numbers(range(len(groups)))}, FRACTIONS, seed, np.array(groups))
    assert sorted(parts["train"] + parts["val"] + parts["test"]) == list(range(len(groups)))
    assert all(part == sorted(part) for part in parts.values())
    held = {name: {groups[example] for example in part} for name, part in parts.items()}
    assert sum(map(len, held.values())) == len(set(groups))
    assert [len(held[part]) for part in FRACTIONS] == [round(share * len(set(groups))) for share in FRACTIONS.values()]


@given(st.integers(10, 60), st.integers(0, 9))
def test_groups_of_one_are_no_groups(count, seed):
    whole = {"train": Numbers(range(count))}
    assert complete_splits(whole, FRACTIONS, seed, np.arange(count)) == complete_splits(whole, FRACTIONS, seed)


@pytest.mark.parametrize(
    ("parts", "fractions", "groups", "message"),
    [
        ({"val": [1]}, FRACTIONS, None, "the source has val but no training split"),
        ({"all": range(9)}, {"val": 0.1, "test": 1.0}, None, "data.test_fraction is 1.0; it must be above 0"),
        ({"all": range(9)}, {"val": 0, "test": 0.1}, None, "data.val_fraction is 0; it must be above 0"),
        ({"all": range(3)}, FRACTIONS, None, "the val split is empty: 3 examples were split by"),
        ({"all": range(9)}, {"val": 0.5, "test": 0.6}, None, "the train split is empty: 9 examples"),
        (
            {"all": range(90)},
            FRACTIONS,
            np.arange(90) % 3,
            "the val split is empty: 90 examples in 3 groups",
        ),
    ],
)
def test_what_cannot_be_cut_is_refused(parts, fractions, groups, message):
    with pytest.raises(InputError, match=message):
        complete_splits({name: Numbers(part) for name, part in parts.items()}, fractions, 0, groups)
