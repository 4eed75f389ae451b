"""Loads an exported parser, which parses without the treebank that it was trained on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from app.backbones import load_model
from app.batches import DataSpec
from app.datamodules.batching.batch_plan import PlanItem
from app.datamodules.parsing.conllu import Sentence
from app.datamodules.parsing.encoding import TreebankEncoder
from app.datamodules.parsing.predict_source import sentences_to_parse
from app.datamodules.parsing.split import ParsingSplit
from app.datamodules.parsing.vocabularies import Reading, TreebankVocabularies
from app.datamodules.tokenizers.tokenizer import TokenizerConfig, train_or_load_tokenizer
from app.errors import InputError
from app.tasks.base import HEAD_FILE
from app.tasks.dependency_parsing import PARSER_FILE, build_parser, predicted_trees
from app.tasks.parsing.biaffine import BiaffineConfig, BiaffineParser
from app.tasks.parsing.transition_parser import TransitionConfig, TransitionParser
from app.tasks.parsing.word_features import FeatureConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_TOGETHER = 32  # sentences that are parsed at a time


def load_parser(folder: str | Path) -> SavedParser:
    """Load the parser from a folder that `python -m app.export` wrote.

    Raises:
        InputError: if the folder has none, or its files do not fit together.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        state = json.loads((folder / PARSER_FILE).read_text(encoding="utf-8"))
        tensors = load_file(folder / HEAD_FILE)
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"{folder} is not an exported parser ({error}); use a folder that app.export wrote") from error
    try:
        tokenizer = None
        if state["has_subwords"]:
            tokenizer = train_or_load_tokenizer((), TokenizerConfig("pretrained", pretrained=str(folder)))
        vocabularies = TreebankVocabularies.from_dict(state["vocabularies"])
        encoder = TreebankEncoder(vocabularies, Reading(**state["reading"]), (), tokenizer)
        model = load_model(folder)
        data_spec = DataSpec(
            {} if tokenizer is None else {"vocab_size": tokenizer.vocab_size},
            labels=vocabularies.relations,
            features=encoder.features,
            root_labels=vocabularies.root_relations,
        )
        features = FeatureConfig(**state["features"])
        sizes = (TransitionConfig if state["parser"] == "mlp" else BiaffineConfig)(**state["sizes"])
        with torch.random.fork_rng(devices=[]):
            head = build_parser(sizes, features, data_spec, model)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{folder / PARSER_FILE} is not what app.export writes ({error!r}); export the run again"
        ) from error
    try:
        head.load_state_dict({name.removeprefix("parser."): tensor for name, tensor in tensors.items()})
    except RuntimeError as error:
        raise InputError(f"{folder / HEAD_FILE} does not fit {PARSER_FILE} ({' '.join(str(error).split())})") from error
    return SavedParser(model, head.to(model.dtype).eval(), encoder, state["max_length"], state["language"])


class SavedParser:
    """Parses as `train.py predict` does with the run that it was exported from.

    Args:
        model: the backbone.
        head: the scorers.
        encoder: vocabularies and relations.
        max_length: maximum number of tokens of a sentence.
        language: code of the language whose rules split text into words.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        head: TransitionParser | BiaffineParser,
        encoder: TreebankEncoder,
        max_length: int,
        language: str,
    ) -> None:
        self.model, self.head, self.encoder = model, head, encoder
        self.max_length, self.language = max_length, language

    def parse(self, source: str | Path, form: Literal["auto", "conllu", "text"] = "auto") -> Iterator[str]:
        """Yield each sentence with its tree, in CoNLL-U; without a tree if it has too many tokens.

        Args:
            source: a file in CoNLL-U (.conllu, .conll), or a text file with one sentence per line.
            form: conllu or text, whatever the file's name; auto goes by the name.

        Raises:
            InputError: if a file or line cannot be read.
        """
        for sentences in sentences_to_parse(str(source), form, self.language, "utf-8", _TOGETHER):
            yield from self._parse(sentences)

    @torch.no_grad()
    def _parse(self, sentences: Sequence[Sentence]) -> list[str]:
        tokenizer = self.encoder.tokenizer
        pad_id, limit = (tokenizer.pad_id, self.max_length) if tokenizer else (0, None)
        split = ParsingSplit(self.encoder.encode(sentences), pad_id, sentences, limit)
        split.warn_of_unparsed("parse", sentences, "come without a tree")
        batch = split.batch(PlanItem(list(range(len(sentences))), int(split.units.sum()), False))
        parsed = self.head.parse(self.model, batch, with_loss=False)
        return [tree.answer for tree in predicted_trees(parsed, batch, self.encoder.vocabularies.relations)]
