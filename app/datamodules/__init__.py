"""Files to batches: where data comes from, how it is split, tokenised, and cut into batches."""

from app.datamodules.base import DataModule
from app.datamodules.byte_text import ByteData
from app.datamodules.image_classification import ImageClassificationData
from app.datamodules.parsing import ParsingData
from app.datamodules.text_classification import TextClassificationData
from app.datamodules.translation import TranslationData

__all__ = [
    "ByteData",
    "DataModule",
    "ImageClassificationData",
    "ParsingData",
    "TextClassificationData",
    "TranslationData",
]
