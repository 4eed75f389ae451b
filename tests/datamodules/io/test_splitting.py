"""Cutting splits where a dataset has none: the same for every run, without loss and without leaks between splits."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.datamodules.io.splitting import SplitChoice, choose_splits, complete_splits, log_repetitions
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

    def __add__(self, other: "Numbers") -> "Numbers":
        return type(self)([*self, *other])

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
    assert sorted(sum(map(list, parts.values()), [])) == sorted(whole["all"])
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


# Folds and fractions


def folds_of(found, folds, seed=0, classes=False, **more):
    choices = (SplitChoice(FRACTIONS, seed, folds, fold, **more) for fold in range(folds))
    return [choose_splits("x", found, choice, classes) for choice in choices]


@pytest.mark.parametrize("seed", range(8))
def test_every_example_is_tested_in_one_fold_and_equal_ones_in_the_same(seed):
    folds, numbers = 2 + seed, np.random.default_rng(seed).integers(0, 600, 150).tolist()
    groups = {number // 10 for number in numbers}
    third = len(numbers) // 3
    published = {name: Grouped(numbers[i * third : (i + 1) * third]) for i, name in enumerate(("test", "train", "val"))}
    published["train"] += Grouped(numbers[3 * third :])
    runs = folds_of(published, folds, seed)
    assert sorted(number for run in runs for number in run["test"]) == sorted(numbers)
    tested = [set(run["test"].keys) for run in runs]
    assert sum(map(len, tested)) == len(groups)
    for run in runs:
        assert sorted(run["train"] + run["val"] + run["test"]) == sorted(numbers)
        held = {name: set(part.keys) for name, part in run.items()}
        assert len(held["val"]) == round(0.1 * len(held["val"] | held["train"]))
        assert sum(map(len, held.values())) == len(groups)
    assert runs == folds_of(published, folds, seed)


def test_folds_are_of_equal_size_and_of_another_cut_for_another_seed():
    large = [1] * 7 + [11] * 4 + [21] * 4  # groups of repetitions
    whole = {"all": Grouped([*large, *range(100, 1000, 10)])}
    sizes = sorted(len(run["test"]) for run in folds_of(whole, 10))
    assert sizes == [10] * 5 + [11] * 5
    assert [run["test"] for run in folds_of(whole, 10, 1)] != [run["test"] for run in folds_of(whole, 10)]


def test_a_class_of_one_fold_alone_keeps_an_example_to_train_on(caplog):
    whole = {"all": Numbers([*range(0, 400, 10), 7])}  # one example of class 7
    runs = folds_of(whole, 4, classes=True)
    assert all(7 in run["train"] + run["val"] for run in runs) and all(7 in run["train"].answers for run in runs)
    assert any("moved one example" in message for message in caplog.messages)


@pytest.mark.parametrize("seed", range(8))
def test_a_fraction_is_nested_in_larger_ones_and_has_every_class(seed):
    whole = {"all": Grouped(np.random.default_rng(seed).integers(0, 600, 150).tolist())}
    plain = choose_splits("x", whole, SplitChoice(FRACTIONS, seed), classes=True)
    assert plain == complete_splits(whole, FRACTIONS, seed, classes=True)
    classes, groups = set(plain["train"].answers), len(set(plain["train"].keys))
    before = Grouped()
    for fraction in (0.25, 0.5, 0.7, 1.0):
        if round(fraction * groups) < len(classes):
            continue
        choice = SplitChoice(FRACTIONS, seed, train_fraction=fraction)
        splits = choose_splits("x", whole, choice, classes=True)
        kept = splits["train"]
        assert (splits["val"], splits["test"]) == (plain["val"], plain["test"])
        assert set(kept.answers) == classes and len(set(kept.keys)) == round(fraction * groups)
        assert [number for number in plain["train"] if number // 10 in set(kept.keys)] == kept  # repetitions, in order
        assert set(before) <= set(kept)
        before = kept
    assert before == plain["train"]


def test_what_a_fraction_keeps_is_logged_and_too_little_is_refused(caplog):
    caplog.set_level("INFO")
    whole = {"all": Numbers(range(1000))}
    choice = SplitChoice(FRACTIONS, folds=5, fold=2, train_fraction=0.125)
    splits = choose_splits("x", whole, choice, classes=True)
    assert {name: len(part) for name, part in splits.items()} == {"train": 90, "val": 80, "test": 200}
    assert caplog.messages == [
        "x: data.fold 2 of data.folds 5, counted from 0: the test split is 200 of all 1000 examples",
        "x: the training split is 90 of 720 examples, as data.train_fraction is 0.125",
    ]
    assert choice.departures == {"fold": "2of5", "train": "0.125"} and not SplitChoice(FRACTIONS).departures
    for fraction, classes, says in ((0.01, True, "7 of 700 .* each of 10 classes"), (0.0005, False, "0 of 700")):
        with pytest.raises(InputError, match=f"data.train_fraction is {fraction}, which leaves {says}.*; raise it"):
            choose_splits("x", whole, SplitChoice(FRACTIONS, train_fraction=fraction), classes)
    with pytest.raises(InputError, match="data.folds is 2000, but x has only 1000 distinct examples; lower it"):
        choose_splits("x", whole, SplitChoice(FRACTIONS, folds=2000), classes=True)
