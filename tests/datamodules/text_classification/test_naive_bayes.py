"""The baseline of text classification against the textbook's formula, computed by fractions."""

import random
from fractions import Fraction
from math import prod

import numpy as np
import pytest

from app.datamodules import TextClassificationData
from app.datamodules.text_classification.naive_bayes import naive_bayes_accuracy


def likeliest(texts, labels, text, classes):
    """argmax over c of P(c) * product over words w of (count(w, c) + 1) / (words of c + vocabulary)."""
    words = {
        label: [w for t, x in zip(texts, labels, strict=True) if x == label for w in t.split()] for label in classes
    }
    vocabulary = {word for of_class in words.values() for word in of_class}
    posterior = {
        label: Fraction(labels.count(label), len(labels))
        * prod(
            Fraction(of_class.count(word) + 1, len(of_class) + len(vocabulary))
            for word in text.split()
            if word in vocabulary
        )
        for label, of_class in words.items()
    }
    return max(posterior, key=posterior.__getitem__)


def test_it_is_what_the_formula_says():
    draw = random.Random(0)
    labels = draw.choices([0, 1, 2], [3, 1, 1], k=40)
    texts = [" ".join(draw.choices("abcdefgh"[label * 2 :], k=draw.randint(1, 9))) for label in labels]
    others = [" ".join(draw.choices("abcdefghxyz", k=draw.randint(1, 9))) for _ in range(60)]
    expected = [likeliest(texts, labels, text, range(3)) for text in others]
    found = [
        naive_bayes_accuracy(texts, np.array(labels), [text], np.array([label]), 3)
        for text, label in zip(others, expected, strict=True)
    ]
    assert found == [1.0] * 60 and len(set(expected)) == 3


@pytest.mark.parametrize(
    ("texts", "asked"),
    [
        (["Ổn định!", "rất tệ..."], "ỔN?"),
        (["我爱你", "他恨我"], "爱吃"),
        (["ok", "!!"], "?"),
        (["def", "abc"], "(Def)"),
    ],
)
def test_words_are_found_in_any_script(texts, asked):
    assert naive_bayes_accuracy([*texts, texts[0]], np.array([0, 1, 0]), [asked], np.array([0]), 3) == 1.0


def test_the_log_names_the_classes(tmp_path, caplog):
    caplog.set_level("INFO", "app.datamodules")
    rows = [f"word{n} number {i} of {n},class{n:02d}" for n in range(12) for i in range(20 - n)]
    (tmp_path / "x.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    data = TextClassificationData("x", str(tmp_path / "x.csv"), cache_dir=str(tmp_path))
    spec = data.data_spec
    assert spec.baselines["naive_bayes"] > 0.9 > 0.3 > spec.baselines["majority"] > 0
    (classes,) = [line for line in caplog.messages if "12 classes" in line]
    assert classes.startswith("x: 12 classes in the training split: class")
    assert classes.count(", class") == 9 and " and 2 more with " in classes
    assert sum(spec.class_counts) == len(data.texts["train"]) and len(spec.class_counts) == 12
