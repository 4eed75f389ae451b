"""Naive Bayes over bags of words: the baseline of text classification, which takes a second."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain

import numpy as np

from app.languages import UNSPACED

_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")  # of scripts without spaces a word is one sign
_MAX_WORDS, _MAX_COUNTS = 50_000, 10_000_000  # the latter are of each word in each class
_MAX_TEXTS = 200_000


def naive_bayes_accuracy(
    texts: Sequence[str], labels: np.ndarray, test_texts: Sequence[str], test_labels: np.ndarray, classes: int
) -> float:
    """Train multinomial naive Bayes on the words of some texts, and return its accuracy on others.

    Words are folded to lower case; each counts once more in each class than it occurs (Laplace), and those that
    training lacks are skipped. Of very large training sets it reads 200,000 texts, evenly spaced, and 50,000
    words, fewer with more than 200 classes.

    Args:
        texts: N texts.
        labels: (N,) their class ids.
        test_texts: M other texts.
        test_labels: (M,) their class ids.
        classes: number of classes.
    """
    step = -(-len(texts) // _MAX_TEXTS)
    texts, labels = texts[::step], labels[::step]
    most = min(_MAX_WORDS, _MAX_COUNTS // classes)
    frequent = Counter(chain.from_iterable(map(_words, texts))).most_common(most)
    numbers = {word: number for number, (word, _) in enumerate(frequent)}
    counts = np.ones((len(numbers), classes))
    for text, label in zip(texts, labels, strict=True):
        np.add.at(counts[:, label], _known(text, numbers), 1)
    with np.errstate(divide="ignore"):  # a class without training texts is never chosen
        prior = np.log(np.bincount(labels, minlength=classes) / len(labels))
    weights = np.log(counts / counts.sum(0))
    found = [int(np.argmax(prior + weights[_known(text, numbers)].sum(0))) for text in test_texts]
    return float(np.mean(np.array(found) == test_labels))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _known(text: str, numbers: dict[str, int]) -> np.ndarray:
    return np.array([numbers[word] for word in _words(text) if word in numbers], dtype=np.int64)
