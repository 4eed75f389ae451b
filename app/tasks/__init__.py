"""Tasks, one LightningModule each: from batches to losses, scores and predictions."""

from app.tasks.base import Task
from app.tasks.classification import Classification
from app.tasks.dependency_parsing import DependencyParsing
from app.tasks.language_modeling import LanguageModeling
from app.tasks.translation import Translation

__all__ = ["Classification", "DependencyParsing", "LanguageModeling", "Task", "Translation"]
