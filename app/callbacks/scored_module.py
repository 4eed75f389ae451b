"""ScoredModule: what the callbacks of a run read of the module that they watch; every Task is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from app.metrics import ExampleCounts, MetricInfo
from app.norms import NormSpec


class ScoredModule(Protocol):
    """A LightningModule with scores, metrics and norms. The norm diagnostics need none of this, but any module."""

    primary: MetricInfo  # chooses the best checkpoint
    metrics: Sequence[MetricInfo]  # what lines and plots show of an evaluation, loss first
    scores: dict[str, float]  # of the last evaluation, such as {"val/loss": 0.5}
    examples: dict[str, ExampleCounts]  # of the last evaluation of val and test
    score_signatures: dict[str, str]  # how a score was made, such as {"bleu": ...}
    test_texts: dict[str, list[str]]  # what a test leaves besides scores, such as {"hypothesis": lines}
    norm: NormSpec
    norms_replaced: int  # norms that are not the model's own
    site_rows: list[dict[str, str]]  # the rows of norm_sites.csv
    norms_total: int  # norms of the model, replaced or not
    left_norms: Sequence[Any]  # those that cannot be replaced
    input_unit: str  # what throughput counts, such as tokens
    initial_weights: str  # digest of the weights outside the norms

    def take_train_scores(self) -> dict[str, float]:
        """Mean training losses since the last call, over all processes; to be called on all of them."""
