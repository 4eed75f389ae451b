"""The forward passes of the parsers, for ONNX; searching for the tree is not part of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from app.batches import DataSpec, ParsingBatch
from app.tasks.forward_pass import ForwardPass, example_ids
from app.tasks.parsing.arc_standard import LABEL_SLOTS, WORD_SLOTS
from app.tasks.parsing.biaffine import BiaffineParser
from app.tasks.parsing.transition_parser import TransitionParser
from app.tasks.parsing.word_features import FeatureConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_WORDS = ("batch", "words_and_root")
_DIMS = {
    "words": _WORDS,
    "tags": _WORDS,
    "characters": (*_WORDS, "letters"),
    **dict.fromkeys(("input_ids", "word_of_subword", "attention_mask"), ("batch", "tokens")),
    "lengths": ("batch",),
    "heads": ("batch", "words"),
    **dict.fromkeys(("positions", "labels", "sentence"), ("states",)),
}


def biaffine_pass(
    model: PreTrainedModel, parser: BiaffineParser, features: FeatureConfig, data_spec: DataSpec
) -> ForwardPass:
    """Return the function from words (and their heads, if there are relations) to scores of arcs and relations."""

    def inputs(rows: int, words: int, letters: int) -> dict[str, Tensor]:
        of_word = torch.arange(words + 1).repeat_interleave(2)[1:].expand(rows, -1).contiguous()  # two subwords a word
        made = _words(features, data_spec, rows, words, letters)
        made["lengths"] = torch.full((rows,), words)
        made["input_ids"] = example_ids(rows, of_word.shape[1], data_spec.model_options["vocab_size"])
        made["word_of_subword"], made["attention_mask"] = of_word, torch.ones_like(of_word)
        if parser.labels:
            made["heads"] = (torch.arange(rows * words).view(rows, words) * 3) % (words + 1)
        return made

    made = inputs(2, 5, 4)
    names = list(made)

    def compute(modules: nn.ModuleList, *tensors: Tensor) -> tuple[Tensor, ...]:
        backbone, scorer = modules
        assert isinstance(scorer, BiaffineParser)
        batch = _batch(names, tensors)
        vectors = scorer._words(backbone, batch)
        arcs = scorer._arcs(vectors, batch)
        return (arcs, scorer._relations(vectors, batch.heads)) if scorer.labels else (arcs,)

    outputs = ("arcs", "relations") if parser.labels else ("arcs",)
    return ForwardPass(nn.ModuleList([model, parser]), compute, made, inputs(1, 8, 6), _DIMS, outputs)


def transition_pass(
    model: PreTrainedModel, parser: TransitionParser, features: FeatureConfig, data_spec: DataSpec
) -> ForwardPass:
    """Return the function from words and states of the transition system to scores of the actions."""

    def inputs(rows: int, words: int, letters: int, states: int) -> dict[str, Tensor]:
        places = torch.arange(states * WORD_SLOTS).view(states, WORD_SLOTS)
        relations = torch.arange(states * LABEL_SLOTS).view(states, LABEL_SLOTS)
        return {
            **_words(features, data_spec, rows, words, letters),
            "positions": places % (words + 2) - 1,
            "labels": relations % (parser.labels + 1) - 1,
            "sentence": torch.arange(states) % rows,
        }

    made = inputs(2, 5, 4, 7)
    names = list(made)[:-3]

    def compute(modules: nn.ModuleList, *tensors: Tensor) -> tuple[Tensor]:
        backbone, scorer = modules
        assert isinstance(scorer, TransitionParser)
        *of_words, positions, labels, sentence = tensors
        return (scorer._scores(backbone, scorer._words(_batch(names, of_words)), positions, labels, sentence),)

    return ForwardPass(nn.ModuleList([model, parser]), compute, made, inputs(1, 8, 6, 11), _DIMS, ("actions",))


def _words(features: FeatureConfig, data_spec: DataSpec, rows: int, words: int, letters: int) -> dict[str, Tensor]:
    entries = data_spec.features
    made = {"words": example_ids(rows, words + 1, entries["words"])}
    if features.tags:
        made["tags"] = example_ids(rows, words + 1, entries["tags"])
    if features.characters:
        ids = example_ids(rows * (words + 1), letters, entries["characters"])
        made["characters"] = ids.clamp(min=ParsingBatch.UNKNOWN).view(rows, words + 1, letters)
    return made


def _batch(names: Sequence[str], tensors: Sequence[Tensor]) -> ParsingBatch:
    """Make a batch of these tensors; its other fields are placeholders that no forward pass reads."""
    given = dict(zip(names, tensors, strict=True))
    words = given["words"]
    rest = (
        "lengths",
        "is_parsed",
        "all_words",
        "heads",
        "relations",
        "universal_relations",
        "projective_heads",
        "scored",
    )
    optional = ("tags", "characters", "input_ids", "word_of_subword", "attention_mask")
    return ParsingBatch(
        index=words, loss_denominator=1, is_dummy=False, words=words, writers=[], real_words=1, scored_words=(),
        **{name: given.get(name, words) for name in rest}, **{name: given.get(name) for name in optional},
    )  # fmt: skip
