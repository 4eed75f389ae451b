"""The parser of Dozat and Manning (2017), deep biaffine attention: each word scores every other word as its head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor, nn

from app.batches import DataSpec, ParsingBatch
from app.errors import InputError
from app.tasks.losses import nats, smoothed_cross_entropy
from app.tasks.parsing.spanning_tree import best_trees
from app.tasks.parsing.word_features import FeatureConfig, WordFeatures

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class BiaffineConfig:
    """Sizes of the scorers over the encoder.

    Args:
        arcs: size of the vectors that score arcs.
        relations: size of the vectors that score relations.
        dropout: dropout on the encoder's output and on these vectors.
        pooling: whether the vector of a word is that of its first subword, or the mean of all.
    """

    arcs: int = 256
    relations: int = 64
    dropout: float = 0.3
    pooling: Literal["first", "mean"] = "mean"

    def __post_init__(self) -> None:
        for name in ("arcs", "relations"):
            if getattr(self, name) < 1:
                raise InputError(f"model.biaffine.{name} is {getattr(self, name)}; must be >= 1")
        if not 0 <= self.dropout < 1:
            raise InputError(f"model.biaffine.dropout is {self.dropout}; must be >= 0 and < 1")


class Parsed(NamedTuple):
    """The predicted trees of a batch, and the loss of the right ones.

    Attributes:
        nats: (B,) float64, the loss summed over the words of each sentence.
        heads: (B, W) int64, 0 to W.
        relations: (B, W) int64; zeros where the data has none.
    """

    nats: Tensor
    heads: Tensor
    relations: Tensor


class BiaffineParser(nn.Module):
    """Scores arcs and relations, and finds the best tree.

    Args:
        config: sizes.
        features: features of words, added to the subword embeddings that the encoder reads.
        data_spec: what the data dictates.
        encoder: the backbone, for its sizes; it belongs to the task.

    Raises:
        InputError: if the data has no subwords, or the model is not a text encoder.
    """

    marks_root: Tensor  # (R,) bool, or (0,) where a relation marks roots and other words

    def __init__(
        self, config: BiaffineConfig, features: FeatureConfig, data_spec: DataSpec, encoder: PreTrainedModel
    ) -> None:
        super().__init__()
        if "vocab_size" not in data_spec.model_options:
            raise InputError("model.parser biaffine needs subwords for its encoder; set data.tokenizer")
        if encoder.config.is_encoder_decoder or encoder.main_input_name != "input_ids":
            raise InputError(
                f"model.parser biaffine needs a text encoder, which {encoder.config.model_type} is not; use one such "
                "as bert, modernbert or xlnet"
            )
        embedding_size = encoder.get_input_embeddings().weight.shape[1]  # may be smaller, as in albert and electra
        hidden_size = encoder.config.hidden_size
        self.pooling, self.labels = config.pooling, len(data_spec.labels)
        self.features = self.to_embeddings = None
        if features.size:
            self.features = WordFeatures(features, data_spec.features)
            self.to_embeddings = nn.Linear(features.size, embedding_size, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        self.arc_head = self._projection(hidden_size, config.arcs, config.dropout)
        self.arc_dependent = self._projection(hidden_size, config.arcs, config.dropout)
        self.arc = nn.Linear(config.arcs + 1, config.arcs, bias=False)
        nn.init.zeros_(self.arc.weight)  # no head is preferred before training
        if self.labels:
            self.relation_head = self._projection(hidden_size, config.relations, config.dropout)
            self.relation_dependent = self._projection(hidden_size, config.relations, config.dropout)
            self.relation = nn.Linear(config.relations + 1, self.labels * (config.relations + 1), bias=False)
            nn.init.zeros_(self.relation.weight)
        self.register_buffer("marks_root", torch.tensor(data_spec.root_labels, dtype=torch.bool), persistent=False)

    def train_loss(self, model: nn.Module, batch: ParsingBatch) -> tuple[Tensor, Tensor]:
        """Compute the nats of the right heads and, given them, the right relations: with a gradient, and without."""
        words = self._words(model, batch)
        arcs = smoothed_cross_entropy(self._arcs(words, batch).flatten(0, 1), batch.heads.flatten(), 0.0)
        if not self.labels:
            return arcs
        scores = self._relations(words, batch.heads.clamp(min=0)).flatten(0, 1)
        relations = smoothed_cross_entropy(scores, batch.relations.flatten(), 0.0)
        return arcs[0] + relations[0], arcs[1] + relations[1]

    def parse(self, model: nn.Module, batch: ParsingBatch, with_loss: bool = True) -> Parsed:
        """Find the best tree with one root for each sentence, and the best relation for each of its arcs."""
        words = self._words(model, batch)
        arcs = self._arcs(words, batch)  # (B, W, W + 1)
        loss = nats(arcs, batch.heads).sum(1) if with_loss else arcs.new_zeros(len(arcs))
        # scores of a diverged model must not break the search; double, because float16 has no 1e30
        finite = arcs.double().nan_to_num(nan=-1e30, posinf=1e30, neginf=-1e30)
        heads = best_trees(finite, batch.lengths).clamp(min=0)
        if not self.labels:
            return Parsed(loss, heads, torch.zeros_like(heads))
        if with_loss:
            loss = loss + nats(self._relations(words, batch.heads.clamp(min=0)), batch.relations).sum(1)
        scores = self._relations(words, heads)
        if len(self.marks_root):
            scores = scores.masked_fill((heads == 0).unsqueeze(-1) != self.marks_root, -torch.inf)
        return Parsed(loss, heads, scores.argmax(-1))

    def _words(self, model: nn.Module, batch: ParsingBatch) -> Tensor:
        """Compute the vectors of the root and the words, (B, W + 1, H)."""
        assert batch.input_ids is not None and batch.word_of_subword is not None
        if self.features is None or self.to_embeddings is None:
            hidden = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
        else:
            added = self.to_embeddings(self.features(batch))  # (B, W + 1, H)
            added = torch.cat([added, torch.zeros_like(added[:, :1])], 1)  # zeros for subwords of no word
            of_subwords = added.gather(1, batch.word_of_subword.unsqueeze(-1).expand(-1, -1, added.shape[-1]))
            embeddings = model.get_input_embeddings()(batch.input_ids) + of_subwords  # type: ignore[operator]
            hidden = model(inputs_embeds=embeddings, attention_mask=batch.attention_mask).last_hidden_state
        words = torch.arange(batch.words.shape[1], device=hidden.device)
        belongs = batch.word_of_subword.unsqueeze(1) == words.unsqueeze(1)  # (B, W + 1, T)
        if self.pooling == "first":
            belongs = belongs & (belongs.cumsum(-1) == 1)
        weights = belongs.to(hidden.dtype)
        pooled = weights @ hidden / weights.sum(-1, keepdim=True).clamp(min=1)  # padding has no subwords
        return self.dropout(pooled)

    def _arcs(self, words: Tensor, batch: ParsingBatch) -> Tensor:
        """Score each head for each word, (B, W, W + 1); -inf for impossible heads."""
        heads, dependents = self.arc_head(words), _with_one(self.arc_dependent(words[:, 1:]))
        scores = self.arc(dependents) @ heads.transpose(1, 2)
        place = torch.arange(words.shape[1], device=words.device)
        outside = place > batch.lengths.unsqueeze(1)  # (B, W + 1)
        itself = place[1:].unsqueeze(1) == place  # (W, W + 1)
        return scores.masked_fill(outside.unsqueeze(1) | itself, -torch.inf)

    def _relations(self, words: Tensor, heads: Tensor) -> Tensor:
        """Score each relation between each word and its head, (B, W, R)."""
        of_heads = self.relation_head(words)
        of_heads = _with_one(of_heads.gather(1, heads.unsqueeze(-1).expand(-1, -1, of_heads.shape[-1])))
        dependents = self.relation(_with_one(self.relation_dependent(words[:, 1:])))  # (B, W, R * (size + 1))
        return (dependents.unflatten(-1, (self.labels, -1)) @ of_heads.unsqueeze(-1)).squeeze(-1)

    @staticmethod
    def _projection(size_in: int, size: int, dropout: float) -> nn.Sequential:
        return nn.Sequential(nn.Linear(size_in, size), nn.LeakyReLU(0.1), nn.Dropout(dropout))


def _with_one(vectors: Tensor) -> Tensor:
    """Append a 1 to each vector, so that a bilinear form also has linear terms."""
    return torch.cat([vectors, torch.ones_like(vectors[..., :1])], -1)
