"""Naive Bayes over bags of words: the baseline of text classification, which takes seconds at most."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from app.languages import UNSPACED

_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")  # of scripts without spaces a word is one sign
_MAX_CHARACTERS = 20_000_000
_MAX_WORDS, _MAX_COUNTS = 50_000, 10_000_000  # the latter are of each word in each class


def naive_bayes_accuracy(
    texts: Sequence[str], labels: np.ndarray, test_texts: Sequence[str], test_labels: np.ndarray, classes: int
) -> float:
    """Train multinomial naive Bayes on the words of some texts, and return its accuracy on others.

    Words are folded to lower case; each counts once more in each class than it occurs (Laplace), and those that
    training lacks are skipped. Of very large training sets it reads texts of 20 million characters, evenly spaced, and
    the 50,000 most frequent words, fewer with more than 200 classes.

    Args:
        texts: N texts.
        labels: (N,) their class ids.
        test_texts: M other texts.
        test_labels: (M,) their class ids.
        classes: number of classes.
    """
    step = 1 + sum(map(len, texts)) // _MAX_CHARACTERS
    texts, labels = texts[::step], labels[::step]
    numbers: dict[str, int] = {}  # of words, in the order in which they first appear
    found = [np.array([numbers.setdefault(w, len(numbers)) for w in _words(text)], dtype=np.int64) for text in texts]
    words, of_class = np.concatenate(found), np.repeat(labels, [len(of_text) for of_text in found])
    frequent = np.argsort(-np.bincount(words, minlength=len(numbers)), kind="stable")
    frequent = frequent[: min(_MAX_WORDS, _MAX_COUNTS // classes)]
    rows = np.full(len(numbers), -1)
    rows[frequent] = np.arange(len(frequent))
    is_known = rows[words] >= 0
    cells = rows[words[is_known]] * classes + of_class[is_known]
    counts = 1.0 + np.bincount(cells, minlength=len(frequent) * classes).reshape(-1, classes)
    with np.errstate(divide="ignore"):  # a class without training texts is never chosen
        prior = np.log(np.bincount(labels, minlength=classes) / len(labels))
    weights = np.log(counts / counts.sum(0))
    hits = 0
    for text, label in zip(test_texts, test_labels, strict=True):
        known = rows[[numbers[word] for word in _words(text) if word in numbers]]
        hits += int(np.argmax(prior + weights[known[known >= 0]].sum(0)) == label)
    return hits / len(test_texts)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
