"""Folds and fractions of the training split, in every task; which examples they take is tested in io/test_splitting."""

import logging

import pytest

from app.datamodules import ByteData, ImageClassificationData, ParsingData, TextClassificationData, TranslationData
from app.datamodules.tokenizers.tokenizer import TokenizerConfig
from app.errors import InputError

BPE = TokenizerConfig("bpe", vocab_size=300)
MODULES = {  # class, data, settings, where the examples are, how many; images are published as two splits
    "text": (TextClassificationData, "tiny_texts", {}, "texts", 120),
    "images": (ImageClassificationData, "tiny_images", {}, "images", 100),
    "pairs": (
        TranslationData, "tiny_pairs",
        {"source_language": "en", "target_language": "de", "tokenizer": BPE}, "texts", 120,
    ),
    "trees by a rule": (ParsingData, "tiny_trees", {"split_modulo": 10}, "treebank", 100),
}  # fmt: skip


@pytest.mark.parametrize("which", MODULES)
def test_test_splits_are_all_examples_once_and_a_fraction_reduces_training_alone(which, sources, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    cls, source, settings, attribute, count = MODULES[which]

    def make(**more):
        return cls("x", str(sources[source]), cache_dir=str(tmp_path), **settings, **more)

    runs = [getattr(make(folds=4, fold=fold), attribute) for fold in range(4)]
    assert [sum(map(len, run.values())) for run in runs] == [count] * 4
    tested = [key for run in runs for key in run["test"].keys]
    plain = getattr(make(), attribute)
    assert sorted(tested) == sorted(key for part in plain.values() for key in part.keys)
    caplog.clear()
    half = make(train_fraction=0.5)
    splits, whole = getattr(half, attribute), len(plain["train"])
    assert plain["val"].keys == splits["val"].keys and plain["test"].keys == splits["test"].keys
    said = f"x: the training split is {len(splits['train'])} of {whole} examples, as data.train_fraction is 0.5"
    assert said in caplog.messages and abs(len(splits["train"]) - whole / 2) <= 2
    assert half.fingerprint != make().fingerprint


def test_a_fraction_of_bytes_is_the_first_ones_and_folds_are_refused(tiny_bytes, caplog):
    caplog.set_level(logging.INFO)
    whole, half = (ByteData("x", str(tiny_bytes), train_fraction=fraction).byte_ranges for fraction in (1.0, 0.5))
    count, kept = len(whole["train"]), len(half["train"])
    assert kept == round(count / 2) and (half["train"].data == whole["train"].data[:kept]).all()
    assert (half["val"], half["test"]) == (whole["val"], whole["test"])
    assert caplog.messages[-1] == f"x: the training split is {kept} of {count} bytes, as data.train_fraction is 0.5"
    with pytest.raises(InputError, match="data.folds is 3, and bytes .*; set it to null"):
        ByteData("x", str(tiny_bytes), folds=3)
    with pytest.raises(InputError, match="data.train_fraction is 1e-05, which leaves none of"):
        assert ByteData("x", str(tiny_bytes), train_fraction=1e-5).byte_ranges
