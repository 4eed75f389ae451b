"""TrainerEpoch: an epoch of `fit`, then the same epoch by Hugging Face's Trainer with its defaults."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from app.callbacks import DropoutMasks

FILE_NAME = "hf_trainer.json"
REQUIREMENT = "accelerate==1.15.0"


class TrainerEpoch(Callback):
    """Writes hf_trainer.json into the run folder: seconds of an epoch, `fit` and `trainer`, over the same examples.

    For text classification. The model is the same, as the epoch of fit has left it. Trainer's defaults are batches of
    eight random examples, padded to their longest, and a checkpoint every 500 updates.
    """

    def __init__(self) -> None:
        self._began = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of fit."""
        self._began = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Run Hugging Face's Trainer at the end of the epoch, before its validation."""
        if not trainer.is_last_batch:
            return
        by_fit = time.perf_counter() - self._began
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, DropoutMasks):
                callback.give_back()  # Trainer uses torch's kernel
        by_trainer = train_an_epoch(pl_module, trainer.datamodule.splits["train"], batch)  # type: ignore[attr-defined]
        text = json.dumps({"fit": by_fit, "trainer": by_trainer}) + "\n"
        (Path(trainer.default_root_dir) / FILE_NAME).write_text(text, encoding="utf-8")


def train_an_epoch(task: LightningModule, split: Any, batch: Any) -> float:
    """Train an epoch by Hugging Face's Trainer with its defaults, and return the seconds.

    Args:
        task: the model, a Classification.
        split: its training examples, `ids` and `labels`.
        batch: any batch of them, a template for others.
    """
    from transformers import Trainer as HuggingFaceTrainer
    from transformers import TrainingArguments

    examples = [
        {"input_ids": torch.as_tensor(ids), "labels": int(label)}
        for ids, label in zip(split.ids, split.labels, strict=True)
    ]

    def collate(chosen: list[dict[str, Any]]) -> dict[str, Tensor]:
        ids = nn.utils.rnn.pad_sequence([e["input_ids"] for e in chosen], True, split.pad_id)
        lengths = torch.tensor([len(e["input_ids"]) for e in chosen])
        return {
            "input_ids": ids.long(),
            "attention_mask": (torch.arange(ids.shape[1]) < lengths[:, None]).long(),
            "labels": torch.tensor([e["labels"] for e in chosen]),
        }

    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(folder, num_train_epochs=1, report_to="none", disable_tqdm=True)
        other = HuggingFaceTrainer(_WithLoss(task, batch), settings, collate, examples)
        began = time.perf_counter()
        other.train()
        return time.perf_counter() - began


class _WithLoss(nn.Module):
    """The task in the form that Trainer expects: tensors by name in, loss and logits out."""

    def __init__(self, task: LightningModule, batch: Any) -> None:
        super().__init__()
        self.task, self._pattern = task, batch

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> dict[str, Tensor]:
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}
        logits = self.task(dataclasses.replace(self._pattern, **inputs))
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}
