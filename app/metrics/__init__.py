"""Predictions to counts to a score: counts are added over batches and processes and divided once."""

from app.metrics.ratio import Ratio

__all__ = ["Ratio"]
