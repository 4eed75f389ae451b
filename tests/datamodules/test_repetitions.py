"""Examples that occur twice, in every task: equal ones stay in one split of those cut, and the log counts them."""

import logging

import numpy as np
import pytest

from app.datamodules import ImageClassificationData, ParsingData, TextClassificationData, TranslationData
from tests.stand_ins import conllu_sentence, sentence_pairs, write_aligned

DISTINCT, COPIES = 40, 2
PAIRS = sentence_pairs(DISTINCT + 1)  # the last one is for the test split


def texts(folder):
    lines = [f"{n % 2} {source}\n" for n, (source, _) in enumerate(PAIRS)]
    (folder / "x.train").write_text("".join(lines[:-1] * COPIES))
    (folder / "x.test").write_text(lines[-1] + lines[0])
    return TextClassificationData("x", str(folder)).texts


def images(folder):
    rows = [f"{n},{n * 2},{n * 3},4,{n % 2}\n" for n in range(DISTINCT + 1)]
    (folder / "train.csv").write_text("".join(rows[:-1] * COPIES))
    (folder / "test.csv").write_text(rows[-1] + rows[0])
    return ImageClassificationData("x", str(folder)).images


def trees(folder):
    bank = [conllu_sentence(n, np.random.default_rng(n)).replace("\tfinds\t", f"\t{n}\t") for n in range(400)]
    distinct = list({tuple(line.split("\t")[1] for line in s.splitlines() if "\t" in line): s for s in bank}.values())
    (folder / "train.conllu").write_text("".join(distinct[:DISTINCT] * COPIES))
    (folder / "test.conllu").write_text(distinct[DISTINCT] + distinct[0])
    return ParsingData("x", str(folder)).treebank


def pairs(folder):
    write_aligned(folder / "train", ("en", "de"), PAIRS[:-1] * COPIES)
    write_aligned(folder / "test", ("en", "de"), [PAIRS[-1], PAIRS[0]])
    return TranslationData("x", str(folder), "en", "de").texts


@pytest.mark.parametrize("read", [texts, images, trees, pairs], ids=lambda read: read.__name__)
def test_a_validation_split_that_is_cut_out_of_train_shares_nothing_with_it(read, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    splits = read(tmp_path)
    assert len(splits["val"]) == 0.1 * DISTINCT * COPIES and len(splits["train"]) == 0.9 * DISTINCT * COPIES
    assert not set(splits["val"].keys) & set(splits["train"].keys)
    said = [line for line in caplog.messages if "repeat another" in line or "are also in" in line]
    assert len(said) == 3 and all("label" not in line and "tree" not in line.split(",")[-1] for line in said)
    assert f"{0.45 * DISTINCT * COPIES:.0f} of {0.9 * DISTINCT * COPIES:.0f} train" in said[0]
    assert "1 of 2 test" in said[2] and said[2].endswith("split, as published")


def test_repetitions_with_another_label_are_counted_apart(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    rows = [f"text {n},{n % 2}\n" for n in range(30)]
    (tmp_path / "x.csv").write_text("text,label\n" + "".join(rows) + rows[0] * 3 + "text 4,1\n")
    splits = TextClassificationData("x", str(tmp_path / "x.csv")).texts
    assert sum(map(len, splits.values())) == 30
    assert "x: dropped 3 repetitions of a text" in caplog.messages
    other = "x: dropped 1 repetitions of a text with another label than its first one, such as"
    assert f"{other} {tmp_path / 'x.csv'}:35" in caplog.messages
