"""Shares of test examples in scores that are functions of sums."""

import math

import numpy as np
import pytest

from app.metrics import bleu, metric_info
from app.metrics.translation import bleu_counts
from app.runs.examples_file import write_test_examples
from app.study.analysis.examples import shares_in_score


def write(folder, **columns):
    number = len(next(iter(columns.values())))
    write_test_examples(folder, {"index": np.arange(number), **{n: np.asarray(c) for n, c in columns.items()}})


def test_shares_in_bleu_are_its_jackknife(tmp_path):
    rng = np.random.default_rng(0)
    words = np.array("the cat sat on a mat and saw two small dogs run home in the rain".split())
    references = [" ".join(rng.choice(words, rng.integers(6, 12))) for _ in range(60)]
    hypotheses = [" ".join(w if rng.random() < 0.8 else "x" for w in text.split()[:-1]) for text in references]
    write(tmp_path, **bleu_counts(hypotheses, references, "en"))
    score, _ = bleu(hypotheses, references, "en")
    found = shares_in_score(tmp_path, metric_info("bleu"), score)
    without_first, _ = bleu(hypotheses[1:], references[1:], "en")
    assert found[0] == pytest.approx(60 * score - 59 * without_first) and found.mean() == pytest.approx(score, rel=0.02)
    assert shares_in_score(tmp_path, metric_info("bleu"), score + 1) is None  # the counts are not those of the score


def test_shares_in_ratios_are_in_the_unit_of_tables(tmp_path):
    words, right = np.array([4, 10, 6]), np.array([3, 9, 6])
    write(tmp_path, uas=right, words=words, nats=[4.0, 12.0, 5.0], units=words)
    found = shares_in_score(tmp_path, metric_info("uas_without_punct"), 0.9)
    assert found is None  # another count than that of all words
    assert shares_in_score(tmp_path, metric_info("uas"), 0.9).mean() == pytest.approx(90, abs=1.5)
    assert shares_in_score(tmp_path, metric_info("bpc"), 1.05 / math.log(2)).shape == (3,)
    assert shares_in_score(tmp_path, metric_info("chrf"), 50.0) is None
    assert shares_in_score(tmp_path / "none", metric_info("uas"), 0.9) is None
