"""The paper's parser: an MLP chooses the next transition from the words at the top of stack and buffer.

The transitions are arc-standard, not arc-hybrid, because Chen and Manning (2014), whom the paper follows, use them, and
because their templates look at finished subtrees on both sides. The oracle is static: each training tree has one
sequence of transitions, and the state before each of them is an example.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.batches import DataSpec, ParsingBatch
from app.errors import InputError
from app.tasks.losses import nats, smoothed_cross_entropy
from app.tasks.parsing.arc_standard import LABEL_SLOTS, WORD_SLOTS, OracleStates, decode, replay
from app.tasks.parsing.biaffine import Parsed
from app.tasks.parsing.word_features import FeatureConfig, WordFeatures


@dataclass(frozen=True)
class TransitionConfig:
    """What describes a state in addition to its words.

    Args:
        relations: size of the embeddings of earlier arcs' relations; not used if the data has no relations.
    """

    relations: int = 32

    def __post_init__(self) -> None:
        if self.relations < 1:
            raise InputError(f"model.transition.relations is {self.relations}; must be >= 1")


def state_size(config: TransitionConfig, features: FeatureConfig, labels: int) -> int:
    """Return the number of features that describe a state, which is the input size of the MLP."""
    return WORD_SLOTS * features.size + (LABEL_SLOTS * config.relations if labels else 0)


class TransitionParser(nn.Module):
    """Embeds states and scores transitions; the MLP in between is the task's backbone.

    Args:
        config: sizes.
        features: features of words.
        data_spec: what the data dictates.
        hidden_size: size of the MLP's output.

    Raises:
        InputError: if there are no features.
    """

    known_actions: Tensor  # (2 R + 3,), ids of actions with one relation more to those without it
    marks_root: Tensor  # (2 R,) bool, of the actions that draw an arc; (0,) where a relation marks roots and others

    def __init__(
        self, config: TransitionConfig, features: FeatureConfig, data_spec: DataSpec, hidden_size: int
    ) -> None:
        super().__init__()
        if not features.size:
            raise InputError(
                "model.parser mlp has no features of words to read; set model.features, such as {words: 50, tags: 50}"
            )
        self.labels = len(data_spec.labels)
        self.num_relations = max(self.labels, 1)
        self.features = WordFeatures(features, data_spec.features)
        self.nothing = nn.Parameter(torch.zeros(features.size))  # the word of an empty slot
        self.relations = nn.Embedding(self.labels + 1, config.relations) if self.labels else None  # 0 is an empty slot
        self.score = nn.Linear(hidden_size, 2 * self.num_relations + 1)
        arcs = list(range(1, 2 * self.num_relations + 1))
        left, right, unknown = arcs[: self.num_relations], arcs[self.num_relations :], ParsingBatch.IGNORED
        self.register_buffer("known_actions", torch.tensor([0, *left, unknown, *right, unknown]), persistent=False)
        self.register_buffer("marks_root", torch.tensor(2 * data_spec.root_labels, dtype=torch.bool), persistent=False)

    def train_loss(self, model: nn.Module, batch: ParsingBatch) -> tuple[Tensor, Tensor]:
        """Compute the nats of the oracle's transitions: with a gradient, and without."""
        states, actions = self._oracle(batch)
        scores = self._scores(model, self._words(batch), states.positions, states.labels, states.sentence)
        return smoothed_cross_entropy(scores, actions, 0.0)

    def parse(self, model: nn.Module, batch: ParsingBatch, with_loss: bool = True) -> Parsed:
        """Find the tree to which the best transition at each state leads."""
        words = self._words(batch)
        loss = words.new_zeros(len(words))
        if with_loss:
            states, actions = self._oracle(batch)
            scores = self._scores(model, words, states.positions, states.labels, states.sentence)
            of_states = nats(scores, actions)  # (N,), sentence after sentence, two for each word
            is_state = torch.arange(2 * batch.heads.shape[1], device=words.device) < 2 * batch.lengths.unsqueeze(1)
            # not index_add, which adds in any order on a GPU
            loss = of_states.new_zeros(is_state.shape).masked_scatter(is_state, of_states).sum(1)

        def score(positions: Tensor, labels: Tensor, sentence: Tensor) -> Tensor:
            scores = self._scores(model, words, positions, labels, sentence)
            return self._without_misplaced_roots(scores, positions)

        heads, relations = decode(score, batch.lengths, self.num_relations)
        return Parsed(loss, heads.clamp(min=0), relations.clamp(min=0))

    def _without_misplaced_roots(self, scores: Tensor, positions: Tensor) -> Tensor:
        """Allow root relations for arcs from the root, and only for these; the scores that remain are comparable."""
        if not len(self.marks_root):
            return scores
        below_is_root = positions[:, 1:2] == 0  # (N, 1): the next arc is from the root
        misplaced = F.pad(below_is_root != self.marks_root, (1, 0))  # (N, 2 R + 1): a SHIFT adds no arc
        return scores.masked_fill(misplaced, torch.finfo(scores.dtype).min)

    def _oracle(self, batch: ParsingBatch) -> tuple[OracleStates, Tensor]:
        """Return the states on the way to the right trees, and the action at each; IGNORED if its relation is unknown.

        Relations that the training split does not have are replayed as one additional relation, which the parser
        cannot predict.
        """
        unknown = self.num_relations
        relations = batch.relations.where(batch.relations >= 0, unknown)
        states = replay(batch.projective_heads, relations, batch.lengths, unknown + 1)
        labels = states.labels.where(states.labels < unknown, -1)
        return states._replace(labels=labels), self.known_actions[states.actions]

    def _words(self, batch: ParsingBatch) -> Tensor:
        """Compute a table of vectors, (B, W + 2, size): the root, the words, and the vector of an empty slot."""
        vectors = self.features(batch)
        return torch.cat([vectors, self.nothing.expand(vectors.shape[0], 1, -1)], 1)

    def _scores(self, model: nn.Module, words: Tensor, positions: Tensor, labels: Tensor, sentence: Tensor) -> Tensor:
        """Score each action at each of N states, (N, 2 R + 1)."""
        width = words.shape[1]
        rows = sentence.unsqueeze(1) * width + positions.where(positions >= 0, width - 1)  # (N, 18)
        # not words[rows]: its backward adds in parallel, in an order that differs from run to run
        vectors = [F.embedding(rows, words.flatten(0, 1)).flatten(1)]  # (N, 18 * size)
        if self.relations is not None:
            vectors.append(self.relations(labels + 1).flatten(1))  # (N, 12 * size)
        return self.score(model(inputs_embeds=torch.cat(vectors, 1)).last_hidden_state)
