"""What runs say of each test example, as shares in the test score: read from test_examples.parquet."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from app.metrics import MetricInfo
from app.runs.examples_file import read_test_examples
from app.study.statistics.examples import Score, pseudo_values

_NGRAMS = range(1, 5)
_AGREES = 1e-4  # of the score that a run recorded, relative


def _ratio(sums: np.ndarray) -> np.ndarray:
    return np.asarray(sums[..., 0] / sums[..., 1])


def _bits(sums: np.ndarray) -> np.ndarray:
    return np.asarray(_ratio(sums) / math.log(2))


def _perplexity(sums: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(_ratio(sums)))


def _bleu(sums: np.ndarray) -> np.ndarray:
    """BLEU as sacrebleu has it, of corpora in which each order of n-grams has a match: it smoothes no other."""
    hypothesis, reference, correct, total = sums[..., 0], sums[..., 1], sums[..., 2:6], sums[..., 6:10]
    brevity = np.minimum(0.0, 1 - reference / np.maximum(hypothesis, 1))
    with np.errstate(divide="ignore"):
        return np.asarray(100 * np.exp(brevity + np.log(correct / np.maximum(total, 1)).mean(-1)))


_COUNTS: dict[str, tuple[tuple[str, ...], Score]] = {
    "accuracy": (("correct", ""), _ratio),  # "" stands for 1 an example
    "uas": (("uas", "words"), _ratio),
    "las": (("las", "words"), _ratio),
    "bpc": (("nats", "units"), _bits),
    "perplexity": (("nats", "units"), _perplexity),
    "byte_perplexity": (("nats", "units"), _perplexity),
    "bleu": (("sys_len", "ref_len", *(f"{what}_{n}" for what in ("correct", "total") for n in _NGRAMS)), _bleu),
}


def shares_in_score(folder: Path, metric: MetricInfo, recorded: float) -> np.ndarray | None:
    """Each test example's share in the score; None where the run has no such file or its metric is not a sum of counts.

    Args:
        folder: of the run.
        metric: the primary metric.
        recorded: the score of result.json, which the counts must yield, or they are not what it was computed from.
    """
    examples = read_test_examples(folder) if metric.name in _COUNTS else None
    if examples is None:
        return None
    columns, score = _COUNTS[metric.name]
    if not {*columns} - {""} <= examples.keys():
        return None
    number = len(examples["index"])
    counts = np.stack([examples[name].astype(float) if name else np.ones(number) for name in columns], axis=-1)
    counts = counts[~np.isnan(counts).any(1)]  # some sentences only, where not all of a test set were translated
    if len(counts) < 2:
        return None
    if not math.isclose(float(score(counts.sum(0))), recorded, rel_tol=_AGREES):
        return None
    values = pseudo_values(counts, score)
    return (100.0 if metric.is_share else 1.0) * values if np.isfinite(values).all() else None
