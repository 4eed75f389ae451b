"""Text and image classification: an encoder, one vector an example, a linear layer over it."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from app.batches import ImageBatch, TextBatch
from app.errors import InputError
from app.metrics.info import ACCURACY, LOSS
from app.tasks.base import Counts, Task, TrainLoss
from app.tasks.losses import smoothed_cross_entropy, summed_nats
from app.tasks.prediction import Prediction


class Classification(Task):
    """One class for each example.

    Args:
        pooling: mean over real positions, or the first position ([CLS]).
        classifier_dropout: dropout on the pooled vector.
        label_smoothing: share of the target spread over all classes in training; never in evaluation.
    """

    name = "classification"
    batch_types = (TextBatch, ImageBatch)
    primary = ACCURACY
    metrics = (LOSS, ACCURACY)
    ratio_metrics = ("loss", "accuracy")
    output_fields = ("label", "probabilities")

    def __init__(
        self,
        pooling: Literal["mean", "first"] = "mean",
        classifier_dropout: float = 0.1,
        label_smoothing: float = 0.0,
        **kwargs: Any,
    ) -> None:
        if not 0 <= classifier_dropout < 1:
            raise InputError(f"model.classifier_dropout is {classifier_dropout}; must be >= 0 and < 1")
        self.pooling = pooling
        self.classifier_dropout = classifier_dropout
        self.label_smoothing = label_smoothing
        super().__init__(**kwargs)

    def build_head(self) -> None:
        """Dropout and the linear layer over the classes."""
        takes, given = self.model.main_input_name, "pixel_values" if self.data_spec.batch is ImageBatch else "input_ids"
        if self.data_spec.batch is not None and takes != given:
            raise InputError(
                f"model_type {self.model.config.model_type!r} takes {takes}, and the data gives {given}; take a model "
                "of texts for texts, such as bert, and one of images for images, such as vit"
            )
        self.dropout = nn.Dropout(self.classifier_dropout)
        self.classifier = nn.Linear(self.model.config.hidden_size, len(self.data_spec.labels))

    def forward(self, batch: TextBatch | ImageBatch) -> Tensor:
        """Logits, (B, classes)."""
        hidden = self.model(**batch.model_inputs()).last_hidden_state  # (B, T, H)
        if self.pooling == "first":
            pooled = hidden[:, 0]
        elif isinstance(batch, TextBatch):
            mask = batch.attention_mask.unsqueeze(-1).to(hidden.dtype)  # (B, T, 1)
            pooled = (hidden * mask).sum(1) / mask.sum(1)
        else:
            pooled = hidden.mean(1)
        return self.classifier(self.dropout(pooled))

    def train_loss(self, batch: TextBatch | ImageBatch) -> TrainLoss:
        """Cross-entropy with label smoothing, summed over examples."""
        return TrainLoss(*smoothed_cross_entropy(self(batch), batch.labels, self.label_smoothing), len(batch.labels))

    def evaluate(self, batch: TextBatch | ImageBatch, part: str = "val") -> Counts:
        """Nats and correct predictions."""
        logits = self(batch)
        examples = len(batch.labels)
        return {
            "loss": (summed_nats(logits, batch.labels), examples),
            "accuracy": ((logits.argmax(-1) == batch.labels).sum(), examples),
        }

    def predict_step(self, batch: TextBatch | ImageBatch, batch_idx: int) -> list[Prediction]:
        """The likeliest class of each example, and the probabilities of all."""
        probabilities = torch.softmax(self(batch).double(), dim=-1).tolist()
        predictions = []
        for place, (index, row) in enumerate(zip(batch.index.tolist(), probabilities, strict=True)):
            label = self.data_spec.labels[max(range(len(row)), key=row.__getitem__)]
            shares = {name: round(share, 6) for name, share in zip(self.data_spec.labels, row, strict=True)}
            read = {"text": batch.texts[place]} if isinstance(batch, TextBatch) else {"position": index}
            predictions.append(Prediction(index, {**read, "label": label, "probabilities": shares}, label))
        return predictions
