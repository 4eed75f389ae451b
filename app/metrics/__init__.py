"""Predictions to counts to a score: what is counted is added over batches and processes, and scored once."""

from app.metrics.examples import ExampleCollector, ExampleCounts
from app.metrics.info import LOSS, MetricInfo, baseline_of, baselines_not_beaten, declare_metric, metric_info
from app.metrics.parsing import Attachments, attachments, heads_of_next
from app.metrics.ratio import Ratio
from app.metrics.translation import (
    BleuTokenizer,
    Translated,
    TranslationScores,
    bleu,
    bleu_counts,
    chrf,
    tokenized_bleu,
    tokenizer_of,
)

__all__ = [
    "LOSS",
    "Attachments",
    "BleuTokenizer",
    "ExampleCollector",
    "ExampleCounts",
    "MetricInfo",
    "Ratio",
    "Translated",
    "TranslationScores",
    "attachments",
    "baseline_of",
    "baselines_not_beaten",
    "bleu",
    "bleu_counts",
    "chrf",
    "declare_metric",
    "heads_of_next",
    "metric_info",
    "tokenized_bleu",
    "tokenizer_of",
]
