"""Dependency parsing: a transition parser with an MLP, or biaffine attention over an encoder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from app.backbones import BackboneConfig
from app.batches import DataSpec, ParsingBatch, universal_ids
from app.errors import InputError
from app.metrics import attachments, heads_of_next
from app.metrics.info import LAS, LOSS, UAS
from app.tasks.base import Counts, Task, TrainLoss
from app.tasks.forward_pass import ForwardPass
from app.tasks.parsing.biaffine import BiaffineConfig, BiaffineParser, Parsed
from app.tasks.parsing.forward_pass import biaffine_pass, transition_pass
from app.tasks.parsing.transition_parser import TransitionConfig, TransitionParser, state_size
from app.tasks.parsing.word_features import FeatureConfig
from app.tasks.prediction import Prediction

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PARSER_FILE = "parser.json"  # of an exported folder
_USAGE = """\
from pathlib import Path

from app.export import load_parser

parser = load_parser({folder!r})
Path("sentences.txt").write_text("The red dog sees a house.\\n")  # or a .conllu file, whose tags are read
for sentence in parser.parse("sentences.txt"):
    print(sentence)
"""


class DependencyParsing(Task):
    """Predicts the head of each word and, if the data has relations, its relation.

    Scores: `loss` (nats per word: of the transitions that build a tree, or of heads and relations), `uas` and `las`
    (words with the right head, with the right head and relation, punctuation included; as the shared tasks' scorer
    does, `las` ignores what follows the colon of a relation, as in nsubj:pass), `las_strict` where relations have such
    subtypes (it does not ignore them), all of these also without some words, such as `uas_without_punct`, and `match`
    (sentences where everything is right). `las` needs relations in the data. The test also has `uas_of_next`, the score
    of attaching each word to the next one.

    Args:
        backbone: model_type mlp for the parser mlp, a Hugging Face encoder for biaffine.
        parser: mlp (the paper's: arc-standard transitions, static oracle, greedy) or biaffine (maximum spanning tree).
        features: what the parser reads of a word; biaffine adds it to the subwords that its encoder reads.
        transition: sizes of the parser mlp.
        biaffine: sizes of the parser biaffine.
        data_spec: what the data dictates; train.py takes it from the datamodule.

    Raises:
        InputError: if parser and backbone do not fit together, or the data does not have the features.
    """

    name = "parsing"
    batch_types = (ParsingBatch,)
    universal: Tensor
    loader = "app.export.load_parser"

    def __init__(
        self,
        backbone: BackboneConfig,
        data_spec: DataSpec | None = None,
        parser: Literal["mlp", "biaffine"] = "biaffine",
        features: FeatureConfig | None = None,
        transition: TransitionConfig | None = None,
        biaffine: BiaffineConfig | None = None,
        **kwargs: Any,
    ) -> None:
        assert data_spec is not None, "a task needs the spec of its data"
        if (parser == "mlp") != (backbone.model_type == "mlp"):
            needs = ", with --data.tokenizer '{kind: bpe, vocab_size: 3000}' and --data.characters true"
            raise InputError(
                f"model.parser is {parser} and the backbone {backbone.model_type or backbone.pretrained}; mlp goes "
                "with model_type mlp, and biaffine with a Hugging Face encoder: in place of --model.parser pass "
                f"--model configs/models/{parser}_parser.yaml after --config{needs if parser == 'biaffine' else ''}"
            )
        self.parser_kind = parser
        self.features = features or FeatureConfig()
        self.sizes = (transition or TransitionConfig()) if parser == "mlp" else (biaffine or BiaffineConfig())
        labelled = bool(data_spec.labels)
        self.primary = LAS if labelled else UAS
        self.metrics = (LOSS, UAS, LAS) if labelled else (LOSS, UAS)
        strict = ("las_strict",) if any(":" in label for label in data_spec.labels) else ()
        self.attached = ("uas", "las", *strict) if labelled else ("uas",)
        self.example_columns = {**Task.example_columns, "words": ("uas", 1)}
        self.example_columns |= {score: (score, 0) for score in self.attached[:2]}
        groups = ("", *(f"_without_{group}" for group in data_spec.score_groups))
        self.ratio_metrics = (
            "loss",
            *(f"{score}{group}" for group in groups for score in self.attached),
            "match",
            *(f"uas_of_next{group}" for group in groups),
        )
        if isinstance(self.sizes, TransitionConfig):
            size = state_size(self.sizes, self.features, len(data_spec.labels))
            data_spec = dataclasses.replace(data_spec, model_options={"input_size": size})
        super().__init__(backbone=backbone, data_spec=data_spec, **kwargs)

    def build_head(self) -> None:
        """Create the scorers, and the table of relations without their subtypes."""
        ids, labels = universal_ids(self.data_spec.labels), self.data_spec.labels
        table = torch.tensor([ids[label.partition(":")[0]] for label in labels], dtype=torch.int64)
        self.register_buffer("universal", table, persistent=False)  # (labels,)
        self.parser = build_parser(self.sizes, self.features, self.data_spec, self.model)

    def train_loss(self, batch: ParsingBatch) -> TrainLoss:
        """Compute the cross-entropy of the decisions that make the right tree, summed; the loss unit is a word."""
        return TrainLoss(*self.parser.train_loss(self.model, batch), batch.real_words)

    def evaluate(self, batch: ParsingBatch, split: str = "val") -> Counts:
        """Count nats, and what is right in the best trees."""
        parsed = self.parser.parse(self.model, batch)
        is_word = batch.is_word & batch.is_parsed.unsqueeze(1)
        right = attachments(parsed.heads, parsed.relations, batch.heads, batch.relations, is_word)
        counts: Counts = {"loss": (parsed.nats, batch.lengths * batch.is_parsed)}
        trees = right.labelled_trees if "las" in self.attached else right.trees
        counts["match"] = (trees & batch.is_parsed, len(batch.index))
        found = {"uas": right.heads, "las": right.labelled, "las_strict": right.labelled}
        if "las_strict" in self.attached:
            universal = self.universal[parsed.relations.clamp(min=0)]
            found["las"] = right.heads & (universal == batch.universal_relations)
        if split == "test":
            found["uas_of_next"] = (heads_of_next(batch.lengths, batch.heads.shape[1]) == batch.heads) & is_word
        for score, correct in found.items():
            if score not in (*self.attached, "uas_of_next"):
                continue
            counts[score] = (correct, batch.all_words)
            for column, group in enumerate(self.data_spec.score_groups):
                scored = correct & batch.scored[..., column]
                counts[f"{score}_without_{group}"] = (scored, batch.scored_words[column])
        return counts

    def score_names(self, split: str) -> list[str]:
        """Return the names of the scores; the baseline is scored in the test alone."""
        names = super().score_names(split)
        return names if split == "test" else [name for name in names if "/uas_of_next" not in name]

    def _identity(self) -> dict[str, Any]:
        return {**super()._identity(), "parser": f"{self.parser_kind} {self.features} {self.sizes}"}

    def predict_step(self, batch: ParsingBatch, batch_idx: int) -> list[Prediction]:
        """Predict the tree of each sentence; relations are None where none were learned."""
        parsed = self.parser.parse(self.model, batch, with_loss=False)
        return predicted_trees(parsed, batch, self.data_spec.labels)

    def forward_pass(self) -> ForwardPass:
        """Return the function from words to scores of arcs and relations, or of transitions at given states."""
        if isinstance(self.parser, BiaffineParser):
            return biaffine_pass(self.model, self.parser, self.features, self.data_spec)
        return transition_pass(self.model, self.parser, self.features, self.data_spec)

    def usage_example(self, folder: str, is_stock: bool, data: Any) -> str:
        """Return Python that parses sentences."""
        return _USAGE.format(folder=folder)

    def save_head(self, folder: Path, data: Any) -> None:
        """Also write what `app.export.load_parser` needs besides weights and tokenizer."""
        super().save_head(folder, data)
        state = {
            "parser": self.parser_kind,
            "sizes": dataclasses.asdict(self.sizes),
            "features": dataclasses.asdict(self.features),
            "max_length": data.max_length,
            "language": data.language,
            "has_subwords": data.tokenizer is not None,
            "reading": dataclasses.asdict(data.reading),
            "vocabularies": data.vocabularies.to_dict(),
        }
        (folder / PARSER_FILE).write_text(json.dumps(state, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def build_parser(
    sizes: TransitionConfig | BiaffineConfig, features: FeatureConfig, data_spec: DataSpec, model: PreTrainedModel
) -> TransitionParser | BiaffineParser:
    """Build a parser over a backbone, with fresh weights; its kind follows from the type of its sizes."""
    if isinstance(sizes, TransitionConfig):
        return TransitionParser(sizes, features, data_spec, model.config.hidden_size)
    return BiaffineParser(sizes, features, data_spec, model)


def predicted_trees(parsed: Parsed, batch: ParsingBatch, relations: Sequence[str]) -> list[Prediction]:
    """Return the sentences of a batch with their predicted trees, or without a tree where it was not parsed.

    Args:
        parsed: the trees.
        batch: the sentences' words and writers.
        relations: names of the relations; if there are none, those of the input are dropped: they are of another tree.
    """
    predictions = []
    is_parsed = batch.is_parsed.tolist()
    for row, (index, forms, write) in enumerate(zip(batch.index.tolist(), batch.forms, batch.writers, strict=True)):
        length = len(forms)
        heads, names = parsed.heads[row, :length].tolist() if is_parsed[row] else None, None
        if relations and is_parsed[row]:
            names = [relations[relation] for relation in parsed.relations[row, :length].tolist()]
        known = {"words": forms, "heads": heads, "relations": names}
        predictions.append(Prediction(index, known, write(heads, names or ["_"] * length), is_block=True))
    return predictions
