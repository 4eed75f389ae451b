"""Files to batches: where data comes from, how it is split, tokenised, and cut into batches."""

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
