"""Datamodules: from files to batches.

The way of a batch, in the order of the code:

1. `io.fetch` brings the source to this machine: a file or folder, a download, a dataset of the Hugging Face hub.
2. The reader of the task (`text_classification.reader`, ...) turns files into examples that know their file and line.
3. `io.splitting` completes the splits train, val and test: as published, or chosen by a seed of their own.
4. The datamodule of the task encodes each split once, by a tokenizer or vocabularies of the training split.
5. `batching.batch_plan` decides which examples are in which batch: a pure function of seed, epoch and lengths.
6. `PlanSampler` takes the share of one process of each batch, from the position of the run on: a `PlanItem`.
7. The split makes the typed batch of a plan item (`app.batches`), padded, with the loss units of the whole update.
8. The task sums its loss over the batch and divides by these units, so the update is that of the whole batch.
"""

from app.datamodules.base import DataModule
from app.datamodules.image_classification.datamodule import ImageClassificationData
from app.datamodules.language_modeling.datamodule import ByteData
from app.datamodules.parsing.datamodule import ParsingData
from app.datamodules.text_classification.datamodule import TextClassificationData
from app.datamodules.translation.datamodule import TranslationData

__all__ = [
    "ByteData",
    "DataModule",
    "ImageClassificationData",
    "ParsingData",
    "TextClassificationData",
    "TranslationData",
]
