"""The datamodule of text classification: files to batches of token ids."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from app.batches import DataSpec, TextBatch
from app.datamodules.base import DataModule
from app.datamodules.batching.batch_plan import PlanItem
from app.datamodules.batching.padding import padding_mask, right_pad
from app.datamodules.io.chunks import Chunks
from app.datamodules.io.fetch import fetch
from app.datamodules.io.labels import class_names, count_classes, label_ids, majority_accuracy
from app.datamodules.io.splitting import choose_splits, log_repetitions, sizes
from app.datamodules.io.tables import Quoting, TableStyle
from app.datamodules.text_classification.naive_bayes import naive_bayes_accuracy
from app.datamodules.text_classification.reader import Form, LabelledTexts, read_labelled_texts, texts_to_classify
from app.datamodules.tokenizers.tokenizer import TextTokenizer, TokenizerConfig, train_or_load_tokenizer
from app.errors import InputError
from app.progress import phase

log = logging.getLogger(__name__)


class TextSplit:
    """The tokenised sentences of one split.

    Args:
        ids: token ids of each sentence.
        labels: (N,) class ids.
        pad_id: id that pads short sentences.
        texts: the sentences as they were read, where predictions are written next to them.
    """

    def __init__(
        self, ids: Sequence[np.ndarray], labels: np.ndarray, pad_id: int, texts: Sequence[str] | None = None
    ) -> None:
        self.ids, self.labels, self.pad_id, self.texts = list(ids), labels, pad_id, texts
        self.lengths = np.array([len(sentence) for sentence in ids], dtype=np.int64)
        self.units = np.ones(len(self.ids), dtype=np.int64)

    def batch(self, item: PlanItem) -> TextBatch:
        """The sentences of a plan item, right-padded to the longest."""
        rows = [self.ids[i] for i in item.indices]
        return TextBatch(
            index=torch.tensor(item.indices),
            loss_denominator=item.loss_denominator,
            is_dummy=item.is_dummy,
            input_ids=right_pad(rows, self.pad_id),
            attention_mask=padding_mask(rows),
            labels=torch.from_numpy(self.labels[item.indices]),
            real_tokens=int(self.lengths[item.indices].sum()),
            texts=[] if self.texts is None else [self.texts[i] for i in item.indices],
        )

    def subset(self, indices: np.ndarray) -> TextSplit:
        """The sentences at `indices`."""
        texts = None if self.texts is None else [self.texts[i] for i in indices]
        return TextSplit([self.ids[i] for i in indices], self.labels[indices], self.pad_id, texts)

    def fingerprint(self) -> str:
        """A digest of ids and labels."""
        digest = hashlib.sha256(self.labels.tobytes() + self.lengths.tobytes())
        digest.update(np.concatenate(self.ids).astype(np.int64).tobytes())
        return digest.hexdigest()


class TextClassificationData(DataModule):
    """Sentences with one class each, from any dataset of this kind.

    Args:
        text_column: column of the text in csv, tsv, jsonl, parquet and hub datasets: its name, or its number (from 1)
            where header is false.
        label_column: column of the class, in the same way.
        header: whether the first line of csv and tsv files names the columns.
        quoting: standard, or none for csv and tsv files in which quotation marks are text.
        format: auto to go by the ending of a file's name, or label_text for files of any ending with a label, white
            space and a text on each line.
        labels: the classes in the order of their ids; by default those of the training split, sorted.
        ignore_labels: classes whose examples are skipped (and counted).
        encoding: encoding of the text files of the source; by default utf-8, and cp1252 for *.pos and *.neg files that
            are not utf-8.
        tokenizer: how sentences become tokens; trained on the training split unless pretrained.
        max_length: maximum number of tokens of a sentence; longer ones are truncated.
        **kwargs: the arguments of `DataModule`.
    """

    def __init__(
        self,
        name: str,
        source: str,
        text_column: str | int = "text",
        label_column: str | int = "label",
        header: bool = True,
        quoting: Quoting = "standard",
        format: Form = "auto",
        labels: list[str] | None = None,
        ignore_labels: list[str] | None = None,
        encoding: str | None = None,
        tokenizer: TokenizerConfig | None = None,
        max_length: int = 128,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, source, **kwargs)
        if max_length < 3:
            raise InputError(f"data.max_length is {max_length}; it must be >= 3, for [CLS], a token and [SEP]")
        self.text_column, self.label_column = str(text_column), str(label_column)
        self.style, self.format = TableStyle(header, quoting), format
        self.given_labels, self.ignore_labels = labels, ignore_labels or []
        self.encoding, self.max_length = encoding, max_length
        self.tokenizer_config = tokenizer or TokenizerConfig()

    @cached_property
    @phase("reading the data")
    def texts(self) -> dict[str, LabelledTexts]:
        """The splits train, val and test as text."""
        read = read_labelled_texts(
            fetch(self.source, cache_dir=self.cache_dir),
            text_column=self.text_column,
            label_column=self.label_column,
            ignore_labels=self.ignore_labels,
            encoding=self.encoding,
            style=self.style,
            form=self.format,
        )
        skipped = sum((Counter(texts.skipped) for texts in read.values()), Counter[str]())
        count = sum(map(len, read.values())) + skipped.total()
        reasons = "".join(f", skipped {count} {reason}" for reason, count in skipped.items())
        log.info("%s: read %d examples%s", self.name, count, reasons)
        if "all" in read:  # nothing was published as a split, so nothing is lost of one
            whole, read["all"] = read["all"], read["all"].without_repetitions()
            other = whole.contradictions
            if repeated := len(whole) - len(read["all"]) - len(other):
                log.info("%s: dropped %d repetitions of a text", self.name, repeated)
            if other:
                what = "repetitions of a text with another label than its first one, such as"
                log.warning("%s: dropped %d %s %s", self.name, len(other), what, whole.where(other[0]))
        splits = choose_splits(self.name, read, self.split_choice, classes=True)
        log_repetitions(self.name, splits, "texts", "label")
        log.info("%s: kept %s", self.name, sizes(splits))
        return splits

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The classes in the order of their ids."""
        return class_names(self.texts["train"].labels, self.given_labels, self.source)

    @cached_property
    def label_ids(self) -> dict[str, np.ndarray]:
        """The class id of each text, by split."""
        return {split: label_ids(texts, self.labels) for split, texts in self.texts.items()}

    @cached_property
    def class_counts(self) -> tuple[int, ...]:
        """The number of training examples of each class."""
        return count_classes(self.name, self.label_ids["train"], self.labels)

    @cached_property
    def baselines(self) -> dict[str, float]:
        """The test accuracy of the most frequent class, and of naive Bayes over words."""
        texts, ids = self.texts, self.label_ids
        naive_bayes = naive_bayes_accuracy(
            texts["train"].texts, ids["train"], texts["test"].texts, ids["test"], len(self.labels)
        )
        return {"majority": majority_accuracy(ids["train"], ids["test"]), "naive_bayes": naive_bayes}

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer, trained on the training split or loaded."""
        return train_or_load_tokenizer(self.texts["train"].texts, self.tokenizer_config, self.cache_dir)

    @property
    def data_spec(self) -> DataSpec:
        """The vocabulary, the padding token, the classes and the baselines."""
        return DataSpec(
            {"vocab_size": self.tokenizer.vocab_size, "pad_token_id": self.tokenizer.pad_id},
            self.labels,
            self.class_counts,
            max_length=self.max_length,
            vocabulary=self.tokenizer.digest,
            baselines=self.baselines,
            batch=TextBatch,
        )

    def export_spec(self) -> dict[str, Any]:
        """The classes, the baselines and the tokenizer."""
        return {
            "labels": list(self.labels),
            "class_counts": list(self.class_counts),
            "baselines": self.baselines,
            "tokenizer": self.tokenizer.to_dict(),
        }

    def restore_spec(self, kept: dict[str, Any]) -> None:
        """Restore the classes, the baselines and the tokenizer of a run."""
        self.labels = tuple(kept["labels"])
        self.class_counts, self.baselines = tuple(kept.get("class_counts", ())), dict(kept.get("baselines", {}))
        self.tokenizer = TextTokenizer.from_dict(kept["tokenizer"], self.tokenizer_config)

    @cached_property
    @phase("tokenising the data")
    def splits(self) -> dict[str, TextSplit]:
        """The splits, tokenised."""
        return {split: self._encode(texts.texts, self.label_ids[split], split) for split, texts in self.texts.items()}

    def predict_splits(self) -> Chunks[TextSplit]:
        """The sentences of `predict_source`; an empty line is an empty sentence."""
        chunks = texts_to_classify(
            self.required_predict_source(),
            text_column=self.text_column,
            encoding=self.predict_encoding,
            style=self.style,
            form=self.format,
            labels={*self.labels, *self.ignore_labels},
            chunk_size=self.predict_chunk_size,
        )
        return chunks.map(lambda texts: self._encode(texts, np.zeros(len(texts), dtype=np.int64), "predict"))

    def _encode(self, texts: Sequence[str], labels: np.ndarray, split: str) -> TextSplit:
        ids, truncated = self.tokenizer.encode(texts, self.max_length)
        if truncated:
            what = f"{split} sentences were truncated to {self.max_length} tokens"
            log.info("%s: %d of %d %s", self.name, truncated, len(ids), what)
        rows = [np.array(sentence, dtype=np.int32) for sentence in ids]
        return TextSplit(rows, labels, self.tokenizer.pad_id, texts if split == "predict" else None)
