"""Predictions to counts to a score: what is counted is added over batches and processes, and scored once."""

from app.metrics.info import LOSS, MetricInfo, baseline_of, baselines_not_beaten, declare_metric, metric_info
from app.metrics.parsing import Attachments, attachments, heads_of_next
from app.metrics.ratio import Ratio
from app.metrics.translation import (
    BleuTokenizer,
    Translated,
    TranslationScores,
    bleu,
    chrf,
    tokenized_bleu,
    tokenizer_of,
)

__all__ = [
    "LOSS",
    "Attachments",
    "BleuTokenizer",
    "MetricInfo",
    "Ratio",
    "Translated",
    "TranslationScores",
    "attachments",
    "baseline_of",
    "baselines_not_beaten",
    "bleu",
    "chrf",
    "declare_metric",
    "heads_of_next",
    "metric_info",
    "tokenized_bleu",
    "tokenizer_of",
]
