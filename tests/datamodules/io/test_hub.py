"""Text datasets as the hub gives them: splits, class names, labels kept back, and what does not fit."""

import logging

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from app.datamodules.io.fetch import fetch
from app.datamodules.language_modeling.reader import read_byte_splits
from app.datamodules.text_classification.reader import LabelledTexts, read_labelled_texts
from app.errors import InputError


def pairs(part: LabelledTexts) -> list[tuple[str, str]]:
    return list(zip(part.texts, part.labels, strict=True))


def hub_split(texts: list, labels: list, names: list[str] | None = None) -> Dataset:
    feature = ClassLabel(names=names) if names else Value("string" if isinstance(labels[0], str) else "int64")
    return Dataset.from_dict(
        {"text": texts, "label": labels}, features=Features({"text": Value("string"), "label": feature})
    )


def test_hub_splits_and_class_names(caplog):
    names = ["neg", "pos"]
    dataset = DatasetDict(
        {
            "test": hub_split(["c", "d"], [-1, -1], names),
            "validation": hub_split(["b"], [0], names),
            "train": hub_split(["a", " a2 "], [1, 0], names),
            "unsupervised": hub_split(["e"], [-1], names),
        }
    )
    with caplog.at_level(logging.WARNING):
        read = read_labelled_texts(dataset)
    assert {split: pairs(part) for split, part in read.items()} == {
        "train": [("a", "pos"), ("a2", "neg")],
        "val": [("b", "neg")],
    }
    assert read["train"].where(1) == "hub split 'train':2"
    said = [record.getMessage() for record in caplog.records]
    assert any("'unsupervised'" in message and "skipped" in message for message in said)
    assert any("'test' is skipped: it has no labels" in message for message in said)


def test_hub_labels_without_names_are_taken_as_they_are():
    read = read_labelled_texts(DatasetDict({"train": hub_split(["a", "b"], [-1, 1])}))
    assert read["train"].labels == ["-1", "1"]


@pytest.mark.parametrize(
    ("splits", "options", "message"),
    [
        ({"train": (["a"], [0], ["x"])}, {"text_column": "sentence"}, "no column 'sentence'; it has 'text', 'label'"),
        ({"train": (["a", "b"], [0, -1], ["x"])}, {}, "hub split 'train':2: the label is -1"),
        ({"train": (["a", "b"], ["x", None])}, {}, "hub split 'train':2: the label is empty"),
        ({"train": (["", " "], [0, 0])}, {}, "hub split 'train': has no examples except those without a text"),
        ({"train": (["a", None], [0, 0])}, {}, "hub split 'train':2: the text is None"),
        ({"train": (["a", "b"], [-1, -1], ["x"])}, {}, "no split has labels"),
        ({"dev": (["a"], [0]), "validation": (["b"], [0])}, {}, "'dev' and 'validation' are both for val"),
        ({"pretraining": (["a"], [0])}, {}, "has the splits 'pretraining'; allowed: train"),
    ],
)
def test_a_hub_dataset_that_does_not_fit_is_refused(splits, options, message):
    dataset = DatasetDict({name: hub_split(*columns) for name, columns in splits.items()})
    with pytest.raises(InputError, match=message):
        read_labelled_texts(dataset, **options)


@pytest.mark.parametrize("as_one", [True, False])
def test_a_parquet_and_a_saved_folder_have_the_names_of_classes(as_one, tmp_path):
    rows = hub_split(["a", "b"], [1, 0], ["neg", "pos"])
    rows.to_parquet(tmp_path / "x.parquet")
    assert read_labelled_texts(tmp_path / "x.parquet")["all"].labels == ["pos", "neg"]
    saved = rows if as_one else DatasetDict({"train": rows, "validation": rows})
    saved.save_to_disk(tmp_path / "saved")
    for source in (str(tmp_path / "saved"), f"hub://{tmp_path / 'saved'}"):
        read = read_labelled_texts(fetch(source))
        assert {split: pairs(part) for split, part in read.items()} == dict.fromkeys(
            ["train"] if as_one else ["train", "val"], [("a", "pos"), ("b", "neg")]
        )
    hub_split(["a"], [-1], ["neg", "pos"]).to_parquet(tmp_path / "y.parquet")
    with pytest.raises(InputError, match="y.parquet:1: the label is -1, which is not a class; allowed: 0 to 1"):
        read_labelled_texts(tmp_path / "y.parquet")
    with pytest.raises(InputError, match="saved'?: a hub dataset is not a file of bytes"):
        read_byte_splits(str(tmp_path / "saved"), tmp_path, own_sources={}, fractions={"val": 0.1, "test": 0.1})


def test_an_empty_hub_split_is_refused():
    whole = hub_split(["a"], [0])
    with pytest.raises(InputError, match="hub split 'test' is empty"):
        read_labelled_texts(DatasetDict({"train": whole, "test": whole.select([])}))
