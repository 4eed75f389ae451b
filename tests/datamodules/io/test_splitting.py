"""Cutting splits where a dataset has none: the same for every run, without loss and without leaks between splits."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.datamodules.io.splitting import complete_splits, log_repetitions
from app.errors import InputError

FRACTIONS = {"val": 0.1, "test": 0.2}


class Numbers(list):
    """Examples that are numbers, each with an answer: its last digit."""

    @property
    def keys(self):
        return list(self)

    @property
    def answers(self):
        return [number % 10 for number in self]

    def subset(self, indices: np.ndarray) -> "Numbers":
        return type(self)(self[index] for index in indices)


class Grouped(Numbers):
    """Numbers of which those with equal tens repeat one another."""

    @property
    def keys(self):
        return [number // 10 for number in self]


def test_the_cut_is_this_one_for_ever():
    parts = complete_splits({"all": Numbers(range(20))}, FRACTIONS, seed=3)
    order = np.random.default_rng(3).permutation(20)
    assert parts == {"val": sorted(order[:2]), "test": sorted(order[2:6]), "train": sorted(order[6:])}
    assert list(parts) == ["train", "val", "test"]
    assert (parts["val"], parts["test"]) == ([12, 16], [3, 8, 13, 18])


def test_published_parts_stay_as_they_are():
    published = {"train": Numbers(range(10)), "val": Numbers([70]), "test": Numbers([80])}
    assert complete_splits(published, FRACTIONS, seed=0) == published
    del published["val"]
    parts = complete_splits(published, FRACTIONS, seed=0)
    assert parts["test"] == [80] and len(parts["val"]) == 1
    assert sorted(parts["train"] + parts["val"]) == list(range(10))


@given(st.lists(st.integers(0, 300), min_size=12), st.integers(0, 9), st.sampled_from(["all", "train"]))
def test_equal_examples_stay_in_one_split_and_nothing_is_lost(numbers, seed, whole):
    groups = {number // 10 for number in numbers}
    assume(len(groups) >= 10)
    parts = complete_splits({whole: Grouped(numbers)}, FRACTIONS, seed)
    assert sorted(parts["train"] + parts["val"] + parts["test"]) == sorted(numbers)
    held = {name: set(part.keys) for name, part in parts.items()}
    assert sum(map(len, held.values())) == len(groups)
    assert [len(held[part]) for part in FRACTIONS] == [round(share * len(groups)) for share in FRACTIONS.values()]


def test_a_class_that_the_cut_takes_out_of_the_training_split_is_moved_back(caplog):
    whole = {"all": Numbers([*range(0, 200, 10), 7, 17])}  # two examples of class 7
    seed = next(s for s in range(999) if 7 not in complete_splits(whole, FRACTIONS, s)["train"].answers)
    plain = complete_splits(whole, FRACTIONS, seed)
    parts = complete_splits(whole, FRACTIONS, seed, classes=True)
    assert parts["train"] == [*plain["train"], 7]
    assert sorted(sum(parts.values(), [])) == sorted(whole["all"])
    assert caplog.messages == ["moved one example to the training split of each class that had none there: 7"]
    other = next(s for s in range(999) if 7 in complete_splits(whole, FRACTIONS, s)["train"].answers)
    assert complete_splits(whole, FRACTIONS, other, classes=True) == complete_splits(whole, FRACTIONS, other)


def test_what_published_splits_share_is_counted(caplog):
    caplog.set_level("INFO")
    splits = {"train": Grouped([1, 2, 11, 21]), "val": Grouped([31]), "test": Grouped([3, 21, 31, 41])}
    log_repetitions("x", splits, "texts", "label")
    assert caplog.messages == [
        "x: 1 of 4 train texts repeat another of the split; 1 of these with another label",
        "x: 2 of 4 test texts are also in the train split, as published; 1 of these with another label",
        "x: 1 of 4 test texts are also in the val split, as published",
    ]


@pytest.mark.parametrize(
    ("parts", "fractions", "message"),
    [
        ({"val": [1]}, FRACTIONS, "the source has val but no training split"),
        ({"all": range(9)}, {"val": 0.1, "test": 1.0}, "data.test_fraction is 1.0; it must be above 0"),
        ({"all": range(9)}, {"val": 0, "test": 0.1}, "data.val_fraction is 0; it must be above 0"),
        ({"all": range(3)}, FRACTIONS, "the val split is empty: 3 examples were split by"),
        ({"all": range(9)}, {"val": 0.5, "test": 0.6}, "the train split is empty: 9 examples"),
        ({"all": [1, 2, 3] * 30}, FRACTIONS, "the val split is empty: 90 examples, 3 of them distinct, were split"),
    ],
)
def test_what_cannot_be_cut_is_refused(parts, fractions, message):
    with pytest.raises(InputError, match=message):
        complete_splits({name: Numbers(part) for name, part in parts.items()}, fractions, 0, classes=True)
