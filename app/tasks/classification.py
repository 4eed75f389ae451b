"""Classification of texts and images: an encoder, a pooled vector for each example, a linear layer."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassF1Score

from app.batches import Batch, ImageBatch, TextBatch
from app.errors import InputError
from app.metrics.info import ACCURACY, LOSS, MACRO_F1
from app.tasks.base import SPLITS, Counts, Task, TrainLoss
from app.tasks.forward_pass import ForwardPass, example_ids, example_mask, loading_lines
from app.tasks.losses import nats, smoothed_cross_entropy
from app.tasks.prediction import Prediction

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_UNBALANCED = 1.5  # largest class / smallest, above which accuracy alone hides that rare classes are missed
Pooling = Literal["mean", "first", "last"]
_POOLED = {  # the same in Python for the model card: of images, of texts
    "mean": ("hidden.mean(1)", "(hidden * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)"),
    "first": ("hidden[:, 0]", "hidden[:, 0]"),
    "last": ("hidden[:, -1]", "hidden[torch.arange(len(hidden)), mask.sum(1) - 1]"),
}


class Classification(Task):
    """Chooses one class for each example.

    Scores: `loss` (nats per example), `accuracy`, and where the largest class has more than 1.5 times the training
    examples of the smallest, `macro_f1` (the mean of the F1 scores of the classes that occur or are predicted: rare
    ones count as much as frequent ones). The test also has the accuracy of baselines: `accuracy_of_majority` (always
    the most frequent class), of texts `accuracy_of_naive_bayes` (over words), of images `accuracy_of_nearest_mean` (the
    class whose mean image is nearest).

    Args:
        pooling: mean over real positions; or the first one ([CLS]); or the last one, for causal models such as gpt2.
        classifier_dropout: dropout on the pooled vector.
        label_smoothing: share of the target that is spread over all classes in training; not in evaluation.
    """

    name = "classification"
    batch_types = (TextBatch, ImageBatch)
    primary = ACCURACY
    metrics = (LOSS, ACCURACY)
    ratio_metrics = ("loss", "accuracy")
    example_columns = {**Task.example_columns, "correct": ("accuracy", 0)}
    output_fields = ("label", "probabilities")

    def __init__(
        self,
        pooling: Pooling = "mean",
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
        counts = self.data_spec.class_counts
        self._is_unbalanced = bool(counts) and max(counts) > _UNBALANCED * min(counts)
        if self._is_unbalanced:
            self.metrics = (*type(self).metrics, MACRO_F1)
        f1 = partial(
            MulticlassF1Score,
            len(self.data_spec.labels),
            average="macro",
            ignore_index=TextBatch.IGNORED,
            validate_args=False,  # it would ask the device after each batch
        )
        self.macro_f1 = nn.ModuleDict({split: f1() for split in SPLITS})

    def build_head(self) -> None:
        """Create the dropout and the linear layer that scores the classes."""
        takes, given = self.model.main_input_name, "pixel_values" if self.data_spec.batch is ImageBatch else "input_ids"
        if self.data_spec.batch is not None and takes != given:
            raise InputError(
                f"model_type {self.model.config.model_type!r} takes {takes}, and the data has {given}; use a text "
                "model such as bert for texts, and an image model such as vit for images"
            )
        width = getattr(self.model.config, "hidden_size", None)
        if not isinstance(width, int):
            raise InputError(
                f"model_type {self.model.config.model_type!r} has no single hidden_size, and so no vectors (positions, "
                "features) to pool; use a model type that has, such as bert or vit"
            )
        self.dropout = nn.Dropout(self.classifier_dropout)
        self.classifier = nn.Linear(width, len(self.data_spec.labels))

    def forward(self, batch: TextBatch | ImageBatch) -> Tensor:
        """Compute the logits of the classes, (B, classes)."""
        mask = batch.attention_mask if isinstance(batch, TextBatch) else None
        pooled = _pool(self._hidden(batch), mask, self.pooling)
        return self.classifier(self.dropout(pooled))

    def _hidden(self, batch: TextBatch | ImageBatch) -> Tensor:
        """Compute the vectors that are pooled, (B, T, H); T is that of the batch for texts."""
        hidden: Tensor | None = getattr(self.model(**batch.model_inputs()), "last_hidden_state", None)
        fits = hidden is not None and hidden.dim() == 3 and hidden.shape[-1] == self.classifier.in_features
        if isinstance(batch, TextBatch):
            fits = fits and hidden.shape[:2] == batch.input_ids.shape
        if hidden is None or not fits:
            shape = "nothing" if hidden is None else tuple(hidden.shape)
            raise InputError(
                f"model_type {self.model.config.model_type!r} returns {shape} as last_hidden_state, and pooling needs "
                f"(examples, positions, {self.classifier.in_features}); use another model type, such as bert or vit"
            )
        return hidden

    def check_sight(self, batch: Batch) -> None:
        """Refuse pooling a first position that sees no later one, and pixels that the model drops."""
        if isinstance(batch, TextBatch):
            if self.pooling == "first":
                self._check_first(batch)
        else:
            assert isinstance(batch, ImageBatch)
            self._check_pixels(batch)

    @torch.no_grad()
    def _check_first(self, batch: TextBatch) -> None:
        """Change all ids but the first and all but the last: if only the last position tells, the model is causal."""
        before = self._hidden(batch)[-1]

        def moves(where: slice, position: int) -> bool:
            ids = batch.input_ids.clone()
            ids[:, where] = (ids[:, where] + 1) % self.data_spec.model_options["vocab_size"]
            after = self._hidden(dataclasses.replace(batch, input_ids=ids))[-1]
            return not torch.allclose(after[position], before[position], rtol=1e-6, atol=1e-7, equal_nan=True)

        if not moves(slice(1, None), 0) and moves(slice(None, -1), -1):
            raise InputError(
                f"model.pooling is first, and in model_type {self.model.config.model_type!r}, which is causal, the "
                "first position sees no token but itself; use mean or last"
            )

    def _check_pixels(self, batch: ImageBatch) -> None:
        """Refuse a model that drops rows or columns of the image: their pixels have no gradient."""
        pixels = torch.rand_like(batch.pixel_values[:1]).requires_grad_()
        hidden = self._hidden(dataclasses.replace(batch, pixel_values=pixels))
        (gradient,) = torch.autograd.grad((hidden * torch.rand_like(hidden)).sum(), pixels)
        seen = gradient[0].abs().amax(0) > 0  # (H, W)
        rows, columns = seen.any(1), seen.any(0)
        if seen.any() and not (rows.all() and columns.all()):
            size = " x ".join(map(str, seen.shape))
            unseen = f"{int((~rows).sum())} of the rows and {int((~columns).sum())} of the columns"
            patch = getattr(self.model.config, "patch_size", None)
            divisors = [side for side in range(1, min(seen.shape) + 1) if not any(n % side for n in seen.shape)]
            remedy = "use options whose strides divide the image size, or another model type"
            if isinstance(patch, int) and patch not in divisors:
                remedy = (
                    f"patch_size {patch} does not divide the image size; set model.backbone.options.patch_size to one "
                    f"of {', '.join(map(str, divisors))}"
                )
            raise InputError(
                f"model_type {self.model.config.model_type!r} does not see {unseen} of the {size} images: {remedy}"
            )

    def train_loss(self, batch: TextBatch | ImageBatch) -> TrainLoss:
        """Compute the cross-entropy with label smoothing, summed over examples."""
        return TrainLoss(*smoothed_cross_entropy(self(batch), batch.labels, self.label_smoothing), len(batch.labels))

    def evaluate(self, batch: TextBatch | ImageBatch, split: str = "val") -> Counts:
        """Count nats and correct predictions; where classes are unbalanced, those of each class."""
        logits = self(batch)
        ones = torch.ones_like(batch.labels)
        if self._is_unbalanced:
            counted = torch.full_like(batch.labels, batch.IGNORED) if batch.is_dummy else batch.labels
            self.macro_f1[split].update(logits.argmax(-1), counted)  # type: ignore[operator]
        return {
            "loss": (nats(logits, batch.labels), ones),
            "accuracy": (logits.argmax(-1) == batch.labels, ones),
        }

    def derive(self, split: str, scores: dict[str, float]) -> dict[str, float]:
        """Compute the F1 score over all processes, where classes are unbalanced."""
        if not self._is_unbalanced:
            return {}
        found = float(self.macro_f1[split].compute())  # type: ignore[operator]
        self.macro_f1[split].reset()  # type: ignore[operator]
        return {MACRO_F1.name: found}

    def predict_step(self, batch: TextBatch | ImageBatch, batch_idx: int) -> list[Prediction]:
        """Predict the most likely class of each example, with the probabilities of all."""
        probabilities = torch.softmax(self(batch).double(), dim=-1).tolist()
        predictions = []
        for place, (index, row) in enumerate(zip(batch.index.tolist(), probabilities, strict=True)):
            label = self.data_spec.labels[max(range(len(row)), key=row.__getitem__)]
            shares = {name: round(share, 6) for name, share in zip(self.data_spec.labels, row, strict=True)}
            read = {"text": batch.texts[place]} if isinstance(batch, TextBatch) else {"position": index}
            predictions.append(Prediction(index, {**read, "label": label, "probabilities": shares}, label))
        return predictions

    def forward_pass(self) -> ForwardPass:
        """Return the function from ids and mask, or from pixels, to logits."""
        options = self.data_spec.model_options
        if self._reads_images:
            shape = (options["num_channels"], options["image_size"], options["image_size"])

            def images(rows: int) -> dict[str, Tensor]:
                return {"pixel_values": torch.randn(rows, *shape, generator=torch.Generator().manual_seed(0))}

            return ForwardPass(self, _logits_of_images, images(2), images(1), {"pixel_values": ("batch",)}, ("logits",))

        def texts(rows: int, tokens: int) -> dict[str, Tensor]:
            ids = example_ids(rows, tokens, options["vocab_size"])
            return {"input_ids": ids, "attention_mask": example_mask(rows, tokens)}

        dims = dict.fromkeys(("input_ids", "attention_mask"), ("batch", "tokens"))
        return ForwardPass(self, _logits_of_texts, texts(2, 7), texts(1, 12), dims, ("logits",))

    def usage_example(self, folder: str, is_stock: bool, data: Any) -> str:
        """Return Python that prints the probabilities of the classes."""
        load = loading_lines(self.auto_class, folder, is_stock, tokenizer=not self._reads_images, head=True)
        pooled = _POOLED[self.pooling][not self._reads_images]
        classify = 'probabilities = (pooled @ head["classifier.weight"].T + head["classifier.bias"]).softmax(-1)'
        if self._reads_images:
            mean, std = data.mean_and_std
            channels_first = "images.unsqueeze(1)" if len(data.shape) == 2 else "images.permute(0, 3, 1, 2)"
            return f"""\
{load}
images = torch.zeros(1, {", ".join(map(str, data.shape))}, dtype=torch.uint8)  # yours, 0 to 255
pixels = (({channels_first} / 255 - {mean!r}) / {std!r}).to(model.dtype)
with torch.no_grad():
    hidden = model(pixel_values=pixels).last_hidden_state  # (images, positions, features)
pooled = {pooled}
{classify}
for row in probabilities:
    print(model.config.norm_workbench["classes"][int(row.argmax())], row.tolist())
"""
        return f"""\
{load}
texts = ["a warm and clever film", "a dull and tired mess"]  # yours
inputs = tokenizer(texts, truncation=True, max_length={data.max_length}, padding=True, return_tensors="pt")
ids, mask = inputs["input_ids"], inputs["attention_mask"]
with torch.no_grad():
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state  # (texts, tokens, features)
pooled = {pooled}
{classify}
for text, row in zip(texts, probabilities):
    print(text, model.config.norm_workbench["classes"][int(row.argmax())], row.tolist())
"""

    def card_notes(self, data: Any) -> list[str]:
        """Say where classes and head are, and how pixels are scaled."""
        notes = [
            "The classes are in config.json (`norm_workbench.classes`), the linear layer over the pooled vector in "
            "head.safetensors. transformers has no class with this pooling and head, so `pipeline` refuses the folder: "
            "config.json has no `id2label`, under whose names it would answer with a random head."
        ]
        if self._reads_images:
            notes.append("Pixels are standardised by the mean and standard deviation of the training split, as above.")
        return notes

    def describe(self, model: PreTrainedModel, data: Any) -> None:
        """Name the classes and the pooling where only our lines read them.

        A stock classifier puts a random head of its own on the backbone; without `id2label` it has no class to answer.
        """
        model.config.id2label, model.config.label2id = {}, {}
        model.config.norm_workbench.update(pooling=self.pooling, classes=list(self.data_spec.labels))

    @property
    def _reads_images(self) -> bool:
        return self.model.main_input_name == "pixel_values"


def _pool(hidden: Tensor, mask: Tensor | None, how: Pooling) -> Tensor:
    """Pool the vectors of the positions, (B, T, H) -> (B, H); the mask (B, T) is that of texts."""
    if how == "first":
        return hidden[:, 0]
    if mask is None:
        return hidden.mean(1) if how == "mean" else hidden[:, -1]
    if how == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]
    real = mask.unsqueeze(-1).to(hidden.dtype)  # (B, T, 1)
    return (hidden * real).sum(1) / real.sum(1)


def _logits_of_images(task: Classification, pixels: Tensor) -> tuple[Tensor]:
    return (task(ImageBatch(pixels, 1, False, pixels, pixels)),)


def _logits_of_texts(task: Classification, ids: Tensor, mask: Tensor) -> tuple[Tensor]:
    return (task(TextBatch(ids, 1, False, ids, mask, ids, 1)),)
