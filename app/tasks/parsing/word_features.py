"""Feature vectors of words: embeddings of words and tags and a convolution over letters, concatenated."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.batches import ParsingBatch
from app.errors import InputError

_LETTER_SIZE, _LETTER_WINDOW = 32, 3


@dataclass(frozen=True)
class FeatureConfig:
    """What a parser reads of a word.

    Args:
        words: size of the word embeddings; 0 for none, as in the next two.
        tags: size of the tag embeddings; needs data.tags.
        characters: size of the vector that a convolution computes from a word's letters; needs data.characters.
        unknown: share of words and of tags that are replaced by unknown ones in training, independently.
        dropout: dropout on the vectors.
    """

    words: int = 0
    tags: int = 0
    characters: int = 0
    unknown: float = 0.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("words", "tags", "characters"):
            if getattr(self, name) < 0:
                raise InputError(f"model.features.{name} is {getattr(self, name)}; must be >= 0 (0 for none)")
        for name in ("unknown", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"model.features.{name} is {getattr(self, name)}; must be >= 0 and < 1")

    @property
    def size(self) -> int:
        """Size of a word's whole vector."""
        return self.words + self.tags + self.characters


class WordFeatures(nn.Module):
    """Computes the vectors of a batch's words, root included.

    Args:
        config: what to read, and sizes.
        entries: number of entries of the data's vocabularies, by name.

    Raises:
        InputError: if the data does not have a feature.
    """

    def __init__(self, config: FeatureConfig, entries: dict[str, int]) -> None:
        super().__init__()
        for name, setting in (("tags", "data.tags"), ("characters", "data.characters")):
            if getattr(config, name) and name not in entries:
                raise InputError(
                    f"model.features.{name} is {getattr(config, name)}, and the data has none; set {setting}"
                )
        self.config = config
        self.words = nn.Embedding(entries["words"], config.words, ParsingBatch.PAD) if config.words else None
        self.tags = nn.Embedding(entries["tags"], config.tags, ParsingBatch.PAD) if config.tags else None
        self.letters = self.convolution = None
        if config.characters:
            self.letters = nn.Embedding(entries["characters"], _LETTER_SIZE, ParsingBatch.PAD)
            self.convolution = nn.Conv1d(_LETTER_SIZE, config.characters, _LETTER_WINDOW, padding=_LETTER_WINDOW // 2)

    def forward(self, batch: ParsingBatch) -> Tensor:
        """Return the vectors, (B, W + 1, size)."""
        vectors = []
        if self.words is not None:
            vectors.append(self.words(self._some_unknown(batch.words)))
        if self.tags is not None:
            assert batch.tags is not None
            vectors.append(self.tags(self._some_unknown(batch.tags)))
        if self.letters is not None:
            assert batch.characters is not None
            vectors.append(self._spell(batch.characters))
        return F.dropout(torch.cat(vectors, -1), self.config.dropout, self.training)

    def _some_unknown(self, ids: Tensor) -> Tensor:
        if not (self.training and self.config.unknown):
            return ids
        forgotten = (torch.rand(ids.shape, device=ids.device) < self.config.unknown) & (ids > ParsingBatch.ROOT)
        return ids.masked_fill(forgotten, ParsingBatch.UNKNOWN)

    def _spell(self, characters: Tensor) -> Tensor:
        """Reduce letters (B, W + 1, C) to the maximum of each feature over a word, (B, W + 1, size)."""
        assert self.letters is not None and self.convolution is not None
        batch, words, _ = characters.shape
        letters = self.letters(characters.flatten(0, 1)).transpose(1, 2)  # (B * (W + 1), letter, C)
        padding = (characters.flatten(0, 1) == ParsingBatch.PAD).unsqueeze(1)
        spelled = self.convolution(letters).masked_fill(padding, -1e4)
        return spelled.amax(-1).clamp(min=0).view(batch, words, -1)  # 0 at padding
