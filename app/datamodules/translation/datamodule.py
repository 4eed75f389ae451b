"""The datamodule of translation: files to batches of token ids."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from app.batches import DataSpec, TranslationBatch
from app.datamodules.base import DataModule
from app.datamodules.io.chunks import Chunks, chunked
from app.datamodules.io.fetch import fetch
from app.datamodules.io.files import data_suffix
from app.datamodules.io.splitting import (
    choose_splits,
    log_repetitions,
    read_splits,
    refuse_folds_with_own_sources,
)
from app.datamodules.io.tables import Quoting, TableStyle
from app.datamodules.io.texts import texts_to_predict
from app.datamodules.tokenizers.tokenizer import TextTokenizer, TokenizerConfig, train_or_load_tokenizer
from app.datamodules.translation.detokenize import detokenize
from app.datamodules.translation.gettext_catalog import CATALOG_SUFFIXES
from app.datamodules.translation.reader import ParallelTexts, is_prefix, one_line, read_parallel_texts
from app.datamodules.translation.split import Side, TranslationSplit
from app.errors import InputError
from app.progress import phase

log = logging.getLogger(__name__)
_CHUNK = 10_000  # sentences that are tokenised at a time


class TranslationData(DataModule):
    """Pairs of sentences in two languages, from any parallel corpus.

    Args:
        source: a folder of line-aligned files (train.en next to train.de, also .gz), the prefix of one such pair
            (FOLDER/train), a csv, tsv, jsonl or parquet file, a gettext catalog (.mo, .po);
            pypi://package==version/path/in/wheel; https://...; hub://name[/config]. A checksum may follow as
            #sha256=...
        source_language: code of the language to translate from, which is also the suffix of its files, such as en.
        target_language: code of the language to translate into, which is also the suffix of its files, such as de.
        val_source: source of the validation split, where it is not in source.
        test_source: source of the test split, where it is not in source.
        source_column: column of the source in csv, tsv, jsonl and parquet: its name, by default its language code, or
            its number (from 1) where header is false.
        target_column: column of the target, in the same way.
        header: whether the first line of csv and tsv files names the columns.
        quoting: standard, or none for csv and tsv files in which quotation marks are text.
        encoding: encoding of the text files of the source; by default utf-8.
        detokenize: the corpus was published tokenised in the manner of Moses: make plain text of all its splits, and of
            predict_source.
        tokenizer: one vocabulary for both languages, trained on the training split unless pretrained; of kind bpe or
            pretrained, because its ids must give the text back.
        max_length: maximum number of tokens of a side, its end mark included: a longer training pair is dropped, other
            pairs are truncated for the model. The references that translations are scored against stay whole.
        max_ratio: maximum of longer side / shorter side, in tokens: a training pair above it is dropped as mismatched.
        **kwargs: the arguments of `DataModule`. Batches are limited by the tokens of the longer side of each pair, and
            pairs with equal sources stay in one split.
    """

    predict_chunk_size = 2_000  # enough to sort by length, and the first translations come soon

    def __init__(
        self,
        name: str,
        source: str,
        source_language: str,
        target_language: str,
        val_source: str | None = None,
        test_source: str | None = None,
        source_column: str | int | None = None,
        target_column: str | int | None = None,
        header: bool = True,
        quoting: Quoting = "standard",
        encoding: str | None = None,
        detokenize: bool = False,
        tokenizer: TokenizerConfig | None = None,
        max_length: int = 128,
        max_ratio: float = 3.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, source, **kwargs)
        if max_length < 2:
            raise InputError(f"data.max_length is {max_length}; it must be >= 2, for a token and the end mark")
        if not max_ratio >= 1:
            raise InputError(f"data.max_ratio is {max_ratio}; it must be >= 1")
        self.tokenizer_config = tokenizer or TokenizerConfig(kind="bpe", vocab_size=8000)
        if not self.tokenizer_config.is_lossless:
            raise InputError(
                f"data.tokenizer is of kind {self.tokenizer_config.kind}, lowercase {self.tokenizer_config.lowercase}, "
                "which does not give text back; allowed for translation: bpe with lowercase false, or pretrained"
            )
        self.languages = (source_language, target_language)
        self.own_sources = {"val": val_source, "test": test_source}
        refuse_folds_with_own_sources(self.split_choice, self.own_sources)
        self.columns = [None if column is None else str(column) for column in (source_column, target_column)]
        self.style = TableStyle(header, quoting)
        self.encoding, self.detokenize = encoding, detokenize
        self.max_length, self.max_ratio = max_length, max_ratio

    @cached_property
    @phase("reading the data")
    def texts(self) -> dict[str, ParallelTexts]:
        """The splits train, val and test as text, without pairs with an empty side."""
        read = read_splits(self._read, self.source, self.own_sources)
        splits = choose_splits(self.name, read, self.split_choice)
        log_repetitions(self.name, splits, "sources", "translation")
        return splits

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """The joint tokenizer, trained on both sides of the training split or loaded."""
        train = self.texts["train"]
        return train_or_load_tokenizer([*train.sources, *train.targets], self.tokenizer_config, self.cache_dir)

    @property
    def tests_own_source(self) -> bool:
        """Whether data.test_source is set."""
        return self.own_sources["test"] is not None

    @property
    def data_spec(self) -> DataSpec:
        """The vocabulary, the special tokens and the way back to text."""
        return DataSpec(
            {"vocab_size": self.tokenizer.vocab_size, **self.tokenizer.special_ids},
            max_length=self.max_length,
            vocabulary=self.tokenizer.digest,
            decode=self.tokenizer.decode,
            target_language=self.languages[1],
            batch=TranslationBatch,
        )

    def export_spec(self) -> dict[str, Any]:
        """The tokenizer."""
        return {"tokenizer": self.tokenizer.to_dict()}

    def restore_spec(self, kept: dict[str, Any]) -> None:
        """Restore the tokenizer of a run."""
        self.tokenizer = TextTokenizer.from_dict(kept["tokenizer"], self.tokenizer_config)

    @cached_property
    @phase("tokenising the data")
    def splits(self) -> dict[str, TranslationSplit]:
        """The splits, tokenised; the training split without the pairs that exceed a limit."""
        train = self.texts["train"]
        split = self._split(train, max_length=None)
        longest, shortest = np.maximum(*_lengths(split)), np.minimum(*_lengths(split))
        too_long = longest > self.max_length
        mismatched = ~too_long & (longest > self.max_ratio * shortest)
        for fault, why in (
            (too_long, f"longer than {self.max_length} tokens"),
            (mismatched, f"one side over {self.max_ratio:g} times as long as the other"),
        ):
            if fault.any():
                log.info("%s: dropped %d training pairs: %s", self.name, fault.sum(), why)
        kept = np.flatnonzero(~too_long & ~mismatched)
        if len(kept) == 0:
            raise InputError(
                f"{self.source}: every training pair exceeds max_length {self.max_length} or max_ratio "
                f"{self.max_ratio:g}; raise these limits"
            )
        splits = {"train": split.subset(kept)}
        for name in ("val", "test"):
            splits[name] = self._split(self.texts[name], self.max_length, name)
        log.info("%s: kept %s pairs", self.name, ", ".join(f"{len(s.lengths)} {name}" for name, s in splits.items()))
        self._check_round_trip(splits["val"].target)
        return splits

    def predict_splits(self) -> Chunks[TranslationSplit]:
        """The sentences of `predict_source`, those of standard input as they come; an empty line is an empty text."""
        source, column = self.required_predict_source(), self.columns[0] or self.languages[0]
        if data_suffix(Path(source)) in CATALOG_SUFFIXES:
            raise InputError(
                f"{source}: is a gettext catalog; write its messages to a text file, one per line, or a table"
            )
        chunks = texts_to_predict(
            source,
            column,
            self.predict_encoding,
            chunk_size=self.predict_chunk_size,
            style=self.style,
            prepare=one_line,
        )
        return chunks.map(self._split_to_predict)

    def _split_to_predict(self, texts: Sequence[str]) -> TranslationSplit:
        source = self._side(self._prepare(texts, self.languages[0]), self.max_length, "predict")
        return TranslationSplit(source, self._side([""] * len(texts), None), self.tokenizer.pad_id)

    def _read(self, source: str) -> dict[str, ParallelTexts]:
        """Read one source, drop pairs with an empty side, and log what was dropped."""
        language, other = self.languages
        path = Path(source) if is_prefix(source, language, other) else fetch(source, cache_dir=self.cache_dir)
        read = read_parallel_texts(
            path,
            source_language=language,
            target_language=other,
            source_column=self.columns[0],
            target_column=self.columns[1],
            encoding=self.encoding,
            style=self.style,
        )
        dropped = sum((Counter(pairs.skipped) for pairs in read.values()), Counter[str]())
        count = sum(map(len, read.values())) + dropped.total()
        for split, pairs in read.items():
            whole = [i for i in range(len(pairs)) if pairs.sources[i] and pairs.targets[i]]
            dropped["with an empty side"] += len(pairs) - len(whole)
            pairs = pairs.subset(whole)
            read[split] = ParallelTexts(
                self._prepare(pairs.sources, language), self._prepare(pairs.targets, other), pairs.files, pairs.lines
            )
        reasons = ", ".join(f"{number} {reason}" for reason, number in dropped.items() if number)
        log.info("%s: read %d pairs%s", self.name, count, f", dropped {reasons}" if reasons else "")
        return read

    def _prepare(self, texts: Sequence[str], language: str) -> list[str]:
        return detokenize(texts, language) if self.detokenize else list(texts)

    def _split(self, pairs: ParallelTexts, max_length: int | None, split: str = "") -> TranslationSplit:
        source = self._side(pairs.sources, max_length, f"{split} source")
        target = self._side(pairs.targets, max_length, f"{split} target")
        return TranslationSplit(source, target, self.tokenizer.pad_id)

    def _side(self, texts: Sequence[str], max_length: int | None, what: str = "") -> Side:
        ids: list[np.ndarray] = []
        truncated = 0
        for chunk in chunked(texts, _CHUNK):  # millions of pairs at a time would take tens of gigabytes
            rows, truncated_here = self.tokenizer.encode(chunk, max_length, framed=False)
            ids += [np.array(row, dtype=np.int32) for row in rows]
            truncated += truncated_here
        if truncated:
            what = f"{what} sentences were truncated to {max_length} tokens"
            log.info("%s: %d of %d %s", self.name, truncated, len(ids), what)
        return Side(list(texts), ids)

    def _check_round_trip(self, side: Side) -> None:
        """Log how many texts the tokenizer does not give back: none if it is trained, perhaps some if pretrained."""
        ids, _ = self.tokenizer.encode(side.texts, framed=False)
        back = self.tokenizer.decode(ids)
        changed = sum(" ".join(text.split()) != again for text, again in zip(side.texts, back, strict=True))
        if changed:
            log.warning("%s: the tokenizer changes %d of %d validation targets", self.name, changed, len(back))


def _lengths(split: TranslationSplit) -> tuple[np.ndarray, np.ndarray]:
    return split.source.lengths, split.target.lengths
