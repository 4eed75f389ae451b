"""One forward pass of each task as a function of tensors, with inputs of two sizes: what ONNX can hold of a model.

What is no forward pass stays outside: beam search, sampling, the maximum spanning tree, the parser's transitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from app.batches import ImageBatch, ParsingBatch, TextBatch
from app.export.run import Run
from app.tasks import Classification, DependencyParsing, LanguageModeling, Translation
from app.tasks.parsing.arc_standard import LABEL_SLOTS, WORD_SLOTS
from app.tasks.parsing.biaffine import BiaffineParser
from app.tasks.parsing.transition_parser import TransitionParser


@dataclass(frozen=True)
class ForwardPass:
    """What is exported.

    Args:
        module: takes the inputs in their order, and gives a tuple of outputs.
        inputs: made-up ones by name.
        other_inputs: the same of other sizes, a batch of one.
        dims: for each input, the names of its dimensions that may be of any size, by their number.
        output_names: of the outputs.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    other_inputs: dict[str, Tensor]
    dims: dict[str, dict[int, str]]
    output_names: tuple[str, ...]

    @property
    def dynamic_shapes(self) -> tuple[Any, ...]:
        """The dims as torch.onnx.export wants them: nested as the arguments of `forward` are."""
        dims = tuple(self.dims[name] for name in self.inputs)
        return (dims,) if isinstance(self.module, _Parsing) else dims


def forward_pass(run: Run) -> ForwardPass:
    """The forward pass of a run's task, in float32 whatever its weights are kept in."""
    task = run.task.float().eval()
    match task:
        case Classification() if task.model.main_input_name == "pixel_values":
            return _of_images(task)
        case Classification():
            return _of_texts(task)
        case LanguageModeling():
            return _of_bytes(task)
        case Translation():
            return _of_pairs(task)
        case DependencyParsing():
            parser = task.parser
            return _of_transitions(task, parser) if isinstance(parser, TransitionParser) else _of_trees(task, parser)
    raise AssertionError(f"no forward pass of {task.name}")


_BATCH_TOKENS = {0: "batch", 1: "tokens"}


class _Texts(nn.Module):
    def __init__(self, task: Classification) -> None:
        super().__init__()
        self.task = task

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor]:
        batch = TextBatch(input_ids, 1, False, input_ids, attention_mask, input_ids, 1)
        return (self.task(batch),)


def _of_texts(task: Classification) -> ForwardPass:
    def inputs(rows: int, tokens: int) -> dict[str, Tensor]:
        ids = _ids(rows, tokens, task.data_spec.model_options["vocab_size"])
        return {"input_ids": ids, "attention_mask": _mask(rows, tokens)}

    dims = dict.fromkeys(("input_ids", "attention_mask"), _BATCH_TOKENS)
    return ForwardPass(_Texts(task), inputs(2, 7), inputs(1, 12), dims, ("logits",))


class _Images(nn.Module):
    def __init__(self, task: Classification) -> None:
        super().__init__()
        self.task = task

    def forward(self, pixel_values: Tensor) -> tuple[Tensor]:
        return (self.task(ImageBatch(pixel_values, 1, False, pixel_values, pixel_values)),)


def _of_images(task: Classification) -> ForwardPass:
    channels, size = (task.data_spec.model_options[name] for name in ("num_channels", "image_size"))

    def inputs(rows: int) -> dict[str, Tensor]:
        return {"pixel_values": torch.randn(rows, channels, size, size, generator=torch.Generator().manual_seed(0))}

    return ForwardPass(_Images(task), inputs(2), inputs(1), {"pixel_values": {0: "batch"}}, ("logits",))


class _Bytes(nn.Module):
    def __init__(self, task: LanguageModeling) -> None:
        super().__init__()
        self.model, self.options = task.model, task.no_cache

    def forward(self, input_ids: Tensor) -> tuple[Tensor]:
        return (self.model(input_ids=input_ids, **self.options).logits,)


def _of_bytes(task: LanguageModeling) -> ForwardPass:
    def inputs(rows: int, tokens: int) -> dict[str, Tensor]:
        return {"input_ids": _ids(rows, tokens, 256)}

    return ForwardPass(_Bytes(task), inputs(2, 7), inputs(1, 12), {"input_ids": _BATCH_TOKENS}, ("logits",))


class _Pairs(nn.Module):
    def __init__(self, task: Translation) -> None:
        super().__init__()
        self.model = task.model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, decoder_input_ids: Tensor) -> tuple[Tensor]:
        output = self.model(
            input_ids=input_ids, attention_mask=attention_mask, decoder_input_ids=decoder_input_ids, use_cache=False
        )
        return (output.logits,)


def _of_pairs(task: Translation) -> ForwardPass:
    def inputs(rows: int, source: int, target: int) -> dict[str, Tensor]:
        size = task.data_spec.model_options["vocab_size"]
        return {
            "input_ids": _ids(rows, source, size),
            "attention_mask": _mask(rows, source),
            "decoder_input_ids": _ids(rows, target, size),
        }

    dims = dict.fromkeys(("input_ids", "attention_mask"), _BATCH_TOKENS)
    dims["decoder_input_ids"] = {0: "batch", 1: "target_tokens"}
    return ForwardPass(_Pairs(task), inputs(2, 7, 5), inputs(1, 12, 9), dims, ("logits",))


class _Parsing(nn.Module):
    """The tensors of a batch by name, and the rest of it made up: nothing of a forward pass reads it."""

    def __init__(self, task: DependencyParsing, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.parser, self.names = task.model, task.parser, tuple(names)

    def batch(self, tensors: Sequence[Tensor]) -> ParsingBatch:
        given = dict(zip(self.names, tensors, strict=True))
        words = given["words"]
        rest = ("lengths", "heads", "relations", "projective_heads", "scored")
        optional = ("tags", "characters", "input_ids", "word_of_subword", "attention_mask")
        return ParsingBatch(
            index=words, loss_denominator=1, is_dummy=False, words=words, writers=[], real_words=1,
            **{name: given.get(name, words) for name in rest}, **{name: given.get(name) for name in optional},
        )  # fmt: skip


class _Trees(_Parsing):
    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        batch, parser = self.batch(tensors), self.parser
        assert isinstance(parser, BiaffineParser)
        words = parser._words(self.model, batch)
        arcs = parser._arcs(words, batch)
        return (arcs, parser._relations(words, batch.heads)) if parser.labels else (arcs,)


class _Transitions(_Parsing):
    def forward(self, *tensors: Tensor) -> tuple[Tensor]:
        *of_batch, positions, labels, sentence = tensors
        parser = self.parser
        assert isinstance(parser, TransitionParser)
        return (parser._scores(self.model, parser._words(self.batch(of_batch)), positions, labels, sentence),)


def _words(task: DependencyParsing, rows: int, words: int, letters: int) -> dict[str, Tensor]:
    features = task.data_spec.features
    made = {"words": _ids(rows, words + 1, features["words"])}
    if task.features.tags:
        made["tags"] = _ids(rows, words + 1, features["tags"])
    if task.features.characters:
        ids = _ids(rows * (words + 1), letters, features["characters"])
        made["characters"] = ids.clamp(min=ParsingBatch.UNKNOWN).view(rows, words + 1, letters)
    return made


_WORD_DIMS = {
    **dict.fromkeys(("words", "tags"), {0: "batch", 1: "words_and_root"}),
    "characters": {0: "batch", 1: "words_and_root", 2: "letters"},
}


def _of_trees(task: DependencyParsing, parser: BiaffineParser) -> ForwardPass:
    def inputs(rows: int, words: int, letters: int) -> dict[str, Tensor]:
        of_word = torch.arange(words + 1).repeat_interleave(2)[1:].expand(rows, -1).contiguous()  # two subwords a word
        made = _words(task, rows, words, letters)
        made["lengths"] = torch.full((rows,), words)
        made["input_ids"] = _ids(rows, of_word.shape[1], task.data_spec.model_options["vocab_size"])
        made["word_of_subword"], made["attention_mask"] = of_word, torch.ones_like(of_word)
        if parser.labels:
            made["heads"] = (torch.arange(rows * words).view(rows, words) * 3) % (words + 1)
        return made

    dims = {**_WORD_DIMS, **dict.fromkeys(("input_ids", "word_of_subword", "attention_mask"), _BATCH_TOKENS)}
    dims |= {"lengths": {0: "batch"}, "heads": {0: "batch", 1: "words"}}
    made = inputs(2, 5, 4)
    outputs = ("arcs", "relations") if parser.labels else ("arcs",)
    return ForwardPass(_Trees(task, list(made)), made, inputs(1, 8, 6), dims, outputs)


def _of_transitions(task: DependencyParsing, parser: TransitionParser) -> ForwardPass:
    def inputs(rows: int, words: int, letters: int, states: int) -> dict[str, Tensor]:
        places = torch.arange(states * WORD_SLOTS).view(states, WORD_SLOTS)
        relations = torch.arange(states * LABEL_SLOTS).view(states, LABEL_SLOTS)
        return {
            **_words(task, rows, words, letters),
            "positions": places % (words + 2) - 1,
            "labels": relations % (parser.labels + 1) - 1,
            "sentence": torch.arange(states) % rows,
        }

    dims = {**_WORD_DIMS, **dict.fromkeys(("positions", "labels", "sentence"), {0: "states"})}
    made = inputs(2, 5, 4, 7)
    names = [name for name in made if name in _WORD_DIMS]
    return ForwardPass(_Transitions(task, names), made, inputs(1, 8, 6, 11), dims, ("actions",))


def _ids(rows: int, tokens: int, size: int) -> Tensor:
    return (torch.arange(rows * tokens).view(rows, tokens) * 7 + 3) % size


def _mask(rows: int, tokens: int) -> Tensor:
    """Ones, but for the end of the last row."""
    mask = torch.ones(rows, tokens, dtype=torch.int64)
    mask[-1, tokens - 2 :] = 0
    return mask
