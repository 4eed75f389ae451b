"""Predictions to counts to a score: what is counted is added over batches and processes, and scored once."""

from app.metrics.ratio import Ratio
from app.metrics.translation import Translated, TranslationScores, bleu, chrf, tokenized_bleu

__all__ = ["Ratio", "Translated", "TranslationScores", "bleu", "chrf", "tokenized_bleu"]
