"""Treebanks: files and folders into parts, what is dealt out or cut, and what is refused."""

import gzip
import hashlib

import numpy as np
import pytest

from app.datamodules.io.splitting import complete_splits
from app.datamodules.parsing.conllu import read_conllu
from app.datamodules.parsing.reader import Treebank, read_treebank
from app.errors import InputError
from tests.datamodules.parsing.conllu_texts import ENGLISH, GERMAN, write

FRACTIONS = {"val": 0.2, "test": 0.2}


def bank(words) -> str:
    """A sentence for each of the words, which is its only one."""
    return "".join(f"1\t{word}\t_\tX\t_\t_\t0\troot\t_\t_\n\n" for word in words)


def read(source, cache="cache", **options) -> dict[str, list[str]]:
    """The first word of each sentence, by part."""
    own_sources = {split: options.pop(f"{split}_source", None) for split in ("val", "test")}
    found = read_treebank(str(source), cache, own_sources=own_sources, split_modulo=options.pop("split_modulo", None))
    parts = complete_splits(found, options.pop("fractions", FRACTIONS), options.pop("split_seed", 0))
    assert list(parts) == ["train", "val", "test"] and not options
    return {part: [sentence.forms[0] for sentence in found.sentences] for part, found in parts.items()}


def numbers(begin: int, end: int) -> list[str]:
    return list(map(str, range(begin, end)))


# Files and folders


def test_a_folder_of_named_files(tmp_path):
    write(tmp_path / "en_tea-ud-train.conllu", f"{ENGLISH}\n{bank('a')}")
    write(tmp_path / "en_tea-ud-dev.conllu.gz", gzip.compress(bank("bc").encode()))
    write(tmp_path / "en_tea-ud-test.conll", GERMAN)
    write(tmp_path / "README.md", "about a train")
    write(tmp_path / ".train.conllu", "x")
    assert read(tmp_path) == {"train": ["Sue", "a"], "val": ["b", "c"], "test": ["Sie"]}


def test_several_files_of_a_part_are_joined_in_the_order_of_their_names(tmp_path):
    for name, words in {"pdt-train-c": "cd", "pdt-train-a": "ab", "pdt-val": "e", "pdt-test": "f"}.items():
        write(tmp_path / f"{name}.conllu", bank(words))
    assert read(tmp_path) == {"train": ["a", "b", "c", "d"], "val": ["e"], "test": ["f"]}


@pytest.mark.parametrize("name", ["", "bank.conllu"])
def test_what_names_no_part_is_cut_as_everything_is(tmp_path, name):
    write(tmp_path / "bank.conllu", bank(numbers(0, 20)))
    parts = read(tmp_path / name, split_seed=3)
    whole = {"all": Treebank(read_conllu(tmp_path / "bank.conllu"))}
    cut = complete_splits(whole, FRACTIONS, 3)
    assert parts == {part: [sentence.forms[0] for sentence in found.sentences] for part, found in cut.items()}
    assert {part: len(words) for part, words in parts.items()} == {"train": 12, "val": 4, "test": 4}


def test_missing_parts_are_cut_from_the_training_part(tmp_path):
    write(tmp_path / "train.conllu", bank(numbers(0, 10)))
    write(tmp_path / "test.conllu", bank(["x"]))
    parts = read(tmp_path)
    assert parts["test"] == ["x"] and len(parts["val"]) == 2
    assert sorted(parts["train"] + parts["val"]) == numbers(0, 10)


def test_parts_of_their_own(tmp_path):
    for name, words in {"a": "ab", "b-test": "c", "b-dev": "d", "b-train": "e"}.items():
        (tmp_path / name[0]).mkdir(exist_ok=True)
        write(tmp_path / name[0] / f"{name}.conllu", bank(words))
    one, other = tmp_path / "a" / "a.conllu", str(tmp_path / "b")
    assert read(one, val_source=other, test_source=f"{other}/b-train.conllu") == {
        "train": ["a", "b"],
        "val": ["d"],
        "test": ["e"],
    }
    joined = read(one, val_source=f"{one} {other}/b-dev.conllu", test_source=other)
    assert joined == {"train": ["a", "b"], "val": ["a", "b", "d"], "test": ["c"]}


# Several sources


def test_several_sources_are_joined_part_by_part(tmp_path):
    for folder, words in {"one": "abc", "other": "def"}.items():
        (tmp_path / folder).mkdir()
        for part, word in zip(("train", "dev", "test"), words, strict=True):
            write(tmp_path / folder / f"{part}.conllu", bank(word))
    parts = read(f"{tmp_path}/other {tmp_path}/one")
    assert parts == {"train": ["d", "a"], "val": ["e", "b"], "test": ["f", "c"]}


def test_a_path_that_exists_is_taken_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = {"a b.conllu": bank(numbers(0, 10)), "a": bank("xy"), "b.conllu": bank("z")}
    digests = {
        name: hashlib.sha256(write(tmp_path / name, text).read_bytes()).hexdigest() for name, text in texts.items()
    }
    own = {"val_source": "a", "test_source": "a"}
    assert read("a b.conllu", **own)["train"] == numbers(0, 10)
    assert read(f"a b.conllu#sha256={digests['a b.conllu']}", **own)["train"] == numbers(0, 10)
    with pytest.raises(InputError, match=f"^a b.conllu: sha256 is {digests['a b.conllu']}, expected {digests['a']}"):
        read(f"a b.conllu#sha256={digests['a']}", **own)
    several = f"a#sha256={digests['a']} b.conllu#sha256={digests['b.conllu']}"
    assert read(several, **own)["train"] == ["x", "y", "z"]
    with pytest.raises(InputError, match=f"^b.conllu: sha256 is {digests['b.conllu']}, expected {digests['a']}"):
        read(f"a  b.conllu#sha256={digests['a']}", **own)


# The rule


def test_sentences_are_dealt_out_by_their_number_in_the_file(tmp_path):
    write(tmp_path / "a.conllu", bank(numbers(0, 13)))
    write(tmp_path / "b.conllu", bank(numbers(20, 40)))
    assert read(f"{tmp_path}/a.conllu {tmp_path}/b.conllu", split_modulo=10) == {
        "train": [*numbers(0, 8), *numbers(10, 13), *numbers(20, 28), *numbers(30, 38)],
        "val": ["8", "28", "38"],
        "test": ["9", "29", "39"],
    }
    assert read(tmp_path / "a.conllu", split_modulo=3) == {
        "train": ["0", "3", "6", "9", "12"],
        "val": ["1", "4", "7", "10"],
        "test": ["2", "5", "8", "11"],
    }


def test_a_part_with_a_source_of_its_own_is_not_dealt_out(tmp_path):
    write(tmp_path / "a.conllu", bank(numbers(0, 8)))
    write(tmp_path / "b.conllu", bank("b"))
    own = {"val_source": f"{tmp_path}/b.conllu"}
    assert read(tmp_path / "a.conllu", split_modulo=4, **own) == {
        "train": ["0", "1", "2", "4", "5", "6"],
        "val": ["b"],
        "test": ["3", "7"],
    }


# What is refused


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({}, {}, "{folder}: no treebank; allowed: files *.conllu or *.conll, also as .gz or .bz2"),
        (
            {"train.txt": "", "notes": ""},
            {},
            "{folder}: no treebank among notes, train.txt; allowed: files *.conllu or *.conll, also as .gz or .bz2",
        ),
        (
            {"a.conllu": "a", "b.conllu": "b"},
            {},
            "{folder}: has a.conllu, b.conllu, but a.conllu names no split; use one file, several separated by spaces, "
            "or a folder of files whose names say train, dev or test",
        ),
        (
            {"latest.conllu": "a", "train.conllu": "b"},
            {},
            "{folder}: has latest.conllu, train.conllu, but latest.conllu names no split; use one file, several",
        ),
        (
            {"dev-test.conllu": "a"},
            {},
            "{folder}/dev-test.conllu: the name says test and val; rename the file so that it says one",
        ),
        ({"dev.conllu": "a"}, {}, "the source has val but no training split; add one, or name it train"),
        (
            {"a.conllu": "abc"},
            {"split_modulo": 2},
            "data.split_modulo is 2; it must be >= 3, or null to split at random",
        ),
        (
            {"train.conllu": "abc"},
            {"split_modulo": 3},
            "{folder}: names its splits (train), so data.split_modulo must be null",
        ),
        (
            {"a.conllu": "abcdefghi"},
            {"split_modulo": 10},
            "{folder}: the test split is empty: 9 sentences were split by data.split_modulo 10; use more data",
        ),
        ({"a.conllu": "a"}, {"fractions": {"val": 1, "test": 0.1}}, "data.val_fraction is 1; it must be above 0"),
        (
            {"train.conllu": "a", "test.conllu": "b"},
            {"val_source": "{folder}"},
            "data.val_source {folder}: has test, train, but no val split; name the one you mean",
        ),
    ],
)
def test_what_makes_no_parts_is_refused(tmp_path, files, options, message):
    for name, words in files.items():
        write(tmp_path / name, bank(words))
    options = {
        key: value.format(folder=tmp_path) if isinstance(value, str) else value for key, value in options.items()
    }
    with pytest.raises(InputError) as caught:
        read(tmp_path, **options)
    assert str(caught.value).startswith(message.format(folder=tmp_path))
    assert "\n" not in str(caught.value)


def test_sources_that_name_parts_only_here_and_there_are_refused(tmp_path):
    for name in ("bank.conllu", "train.conllu"):
        (tmp_path / name[0]).mkdir()
        write(tmp_path / name[0] / name, bank("a"))
    with pytest.raises(InputError, match=r"b .*/t: one names its split \(train\) and another does not; use one kind"):
        read(f"{tmp_path}/b {tmp_path}/t")


def test_a_fault_in_a_file_is_named_with_its_place(tmp_path):
    write(tmp_path / "train.conllu", bank("a") + ENGLISH.replace("2	obj", "9	obj"))
    with pytest.raises(
        InputError, match=r"/train.conllu:8 \(sentence coffee/2\): head '9' of word 3 'coffee' is outside"
    ):
        read(tmp_path)
    with pytest.raises(InputError, match="source is empty"):
        read("")
    with pytest.raises(InputError, match="no such file or folder"):
        read(f"{tmp_path}/missing {tmp_path}")


# What was read


def test_subsets_and_counts(tmp_path):
    whole = Treebank(read_conllu(write(tmp_path / "a.conllu", f"{ENGLISH}\n{GERMAN}\n{bank('abc')}")))
    assert (len(whole), whole.words) == (5, 15)
    chosen = whole.subset(np.array([3, 1]))
    assert [sentence.forms[0] for sentence in chosen.sentences] == ["b", "Sie"]
    assert (len(chosen), chosen.words, len(whole.subset(np.array([], dtype=int)))) == (2, 7, 0)
