"""Treebanks of the hub: which of their rows are words, and what does not fit."""

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from app.datamodules.parsing import reader as treebanks
from app.datamodules.parsing.reader import Treebank, read_treebank
from app.errors import InputError

UPOS = ["NOUN", "_", "DET", "ADP", "VERB"]


def hub(**changes) -> dict[str, list]:
    """A row as universal_dependencies has it: `im Haus` with its multi-word token, and an empty node."""
    row = {
        "idx": "de 1",
        "text": "im Haus",
        "tokens": ["im", "in", "dem", "Haus", "ist"],
        "upos": [1, 3, 2, 0, 4],
        "xpos": ["None", "APPR", "ART", "NN", None],
        "head": ["None", "3", "3", "0", "None"],
        "deprel": ["_", "case", "det", "root", "None"],
    }
    return {key: [value] for key, value in (row | changes).items() if value is not ...}


def feature(values: list):
    if not isinstance(values[0], list):
        return Value("string")
    return [Value("int64" if any(isinstance(value, int) for value in values[0]) else "string")]


def split(columns: dict[str, list]) -> Dataset:
    features = {name: [ClassLabel(names=UPOS)] if name == "upos" else feature(columns[name]) for name in columns}
    return Dataset.from_dict(columns, features=Features(features))


def read_hub(monkeypatch, splits: dict[str, dict[str, list]]) -> dict[str, Treebank]:
    dataset = DatasetDict({name: split(columns) for name, columns in splits.items()})
    monkeypatch.setattr(treebanks, "fetch", lambda source, cache_dir: dataset)
    return read_treebank("hub://universal_dependencies/de_x", "cache", own_sources={})


def test_a_hub_set(monkeypatch):
    bare = hub(idx=..., text=..., upos=..., xpos=..., tokens=["None"], head=["0"], deprel=["None"])
    parts = read_hub(monkeypatch, {"train": hub(), "validation": hub(idx=None), "test": bare})
    (sentence,) = parts["train"].sentences
    assert sentence.lines == (
        "# sent_id = de_1",
        "1	in	_	ADP	APPR	_	3	case	_	_",
        "2	dem	_	DET	ART	_	3	det	_	_",
        "3	Haus	_	NOUN	NN	_	0	root	_	_",
    )
    assert (sentence.heads, sentence.place) == ((3, 3, 0), "hub split 'train':1:1 (sentence de_1)")
    assert parts["val"].sentences[0].lines == sentence.lines[1:]
    assert parts["test"].sentences[0].lines == ("1	None	_	_	_	_	0	_	_	_",)
    assert parts["test"].sentences[0].relations is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": ...}, "hub split 'train': no column 'head'; it has 'idx', 'text', 'tokens'"),
        ({"deprel": None}, "hub split 'train':1: column 'deprel' is not a list; correct"),
        ({"xpos": ["_"] * 4}, "hub split 'train':1: 5 tokens, but column 'xpos' has 4 values; correct"),
        (
            {"head": [None] * 5, "deprel": ["_"] * 5},
            "hub split 'train':1: no token has a head; use a split with trees",
        ),
        (
            {"head": ["None", "7", "3", "0", "None"]},
            r"train':1:2 \(sentence de_1\): head '7' of word 1 'in' is outside",
        ),
        ({"head": ["_", "3", None, "0", "_"]}, r"train':1:3 \(sentence de_1\): word 2 'dem' has no head, but others"),
        ({"head": ["_", "2", "1", "0", "_"]}, r"train':1:2 \(sentence de_1\): word 1 'in', word 2 'dem' are a cycle"),
        ({"deprel": ["_", "_", "_", "root", "_"]}, r"train':1:2 \(sentence de_1\): word 1 'in' has no relation"),
        ({"tokens": ["im", "in", " ", "Haus", "a"]}, "hub split 'train':1: the text is empty"),
        ({"tokens": ["im", None, "a", "Haus", "a"]}, "hub split 'train':1: the text is None"),
    ],
)
def test_a_hub_set_that_does_not_fit_is_refused(monkeypatch, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        read_hub(monkeypatch, {"train": hub(**changes)})
    assert "\n" not in str(caught.value)


def test_cells_of_a_hub_set_become_columns(monkeypatch):
    odd = hub(
        tokens=["im", "in\tx", " New\nYork ", "a\u2028b", "c"], upos=[1, -1, None, 0, 4], head=[None, 3, 3, 0, None]
    )
    (sentence,) = read_hub(monkeypatch, {"train": odd, "test": hub(), "dev": hub()})["train"].sentences
    assert (sentence.forms, sentence.upos) == (("in x", "New York", "a b"), ("_", "_", "NOUN"))
