"""Treebanks as they are published: files in CoNLL-U, folders of them, and hub datasets.

Decisions: published splits stay as they are; a source without splits is split by a rule, if one is set, or at random. A
hub dataset is written as CoNLL-U and read by the same parser, so that the same rules apply to it.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.datamodules.io.fetch import fetch
from app.datamodules.io.files import data_suffix, one_layout, split_of, visible_files
from app.datamodules.io.hub import check_columns, named_splits
from app.datamodules.io.splitting import SPLITS, read_splits
from app.datamodules.io.tables import text_value
from app.datamodules.parsing.conllu import CONLLU_SUFFIXES, NONE, Sentence, parse_conllu, read_conllu
from app.errors import InputError, LineFaults

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

_COLUMNS = ["tokens", "head", "deprel"]  # columns that a hub dataset must have
_TAGS = ("upos", "xpos")  # columns that it may have
_NO_VALUE = (None, NONE, "None")  # universal_dependencies on the hub has "None"

_Files = dict[str, list[list[Sentence]]]  # split -> the sentences of each of its files


@dataclass(frozen=True)
class Treebank:
    """The N sentences of a split with their trees, in the order of their files."""

    sentences: list[Sentence]

    def __len__(self) -> int:
        return len(self.sentences)

    @property
    def words(self) -> int:
        """The number of words of all sentences together."""
        return sum(len(sentence.forms) for sentence in self.sentences)

    @property
    def keys(self) -> list[tuple[str, ...]]:
        """The words of each sentence."""
        return [sentence.forms for sentence in self.sentences]

    @property
    def answers(self) -> list[tuple[tuple[int, ...] | None, tuple[str, ...] | None]]:
        """The tree of each sentence: heads and relations."""
        return [(sentence.heads, sentence.relations) for sentence in self.sentences]

    def __add__(self, other: Treebank) -> Treebank:
        """The sentences of both."""
        return Treebank(self.sentences + other.sentences)

    def subset(self, indices: np.ndarray) -> Treebank:
        """The sentences at `indices`, in their order."""
        return Treebank([self.sentences[index] for index in indices])


def read_treebank(
    source: str,
    cache_dir: Path,
    *,
    own_sources: Mapping[str, str | None],
    split_modulo: int | None = None,
) -> dict[str, Treebank]:
    """The sentences of each split: `train`, `val`, `test`, or `all` where nothing is split.

    A source is a file in CoNLL-U, plain or packed as .gz or .bz2; a folder, where names of files say the split (train,
    dev, valid, val, test: one word of the name), several files of a split are joined in the order of their names, and a
    single file that names none is to be split; or a hub dataset with the columns tokens, head, deprel and perhaps upos,
    xpos and idx, as in universal_dependencies.

    Args:
        source: what `fetch` takes, or several of them separated by spaces, whose splits are joined; a path that exists
            is one source, whatever spaces it has.
        cache_dir: folder for downloads.
        own_sources: see `read_splits`.
        split_modulo: splits a source without splits: of every n sentences of a file, counted from 0, number n - 2 is
            for validation and n - 1 for testing, unless these have a source of their own.

    Raises:
        InputError: for a source that cannot be read or only sometimes names splits, nothing to train on, a sentence
            without a tree, a number that is not allowed, or an empty split.
    """
    if split_modulo is not None and split_modulo < 3:
        raise InputError(f"data.split_modulo is {split_modulo}; it must be >= 3, or null to split at random")
    files = read_splits(partial(_read, cache_dir=cache_dir), source, own_sources)
    if split_modulo is not None:
        files = _split_by_modulo(files, split_modulo, source)
    return {split: Treebank([sentence for file in read for sentence in file]) for split, read in files.items()}


def _split_by_modulo(files: _Files, modulo: int, source: str) -> _Files:
    """The files with splits train, val and test in place of `all`."""
    if "all" not in files:
        raise InputError(f"{source}: names its splits ({', '.join(files)}), so data.split_modulo must be null")
    own = {modulo - 2: "val", modulo - 1: "test"}
    splits: dict[str, list[Sentence]] = {split: [] for split in SPLITS if split not in files}
    for file in files["all"]:
        for index, sentence in enumerate(file):
            split = own.get(index % modulo, "train")
            splits[split if split in splits else "train"].append(sentence)
    for split, sentences in splits.items():
        if not sentences:
            count = sum(map(len, files["all"]))
            raise InputError(
                f"{source}: the {split} split is empty: {count} sentences were split by data.split_modulo {modulo}; "
                "use more data, or a smaller number"
            )
    published = {split: read for split, read in files.items() if split != "all"}
    return published | {split: [sentences] for split, sentences in splits.items()}


def _read(source: str, cache_dir: Path) -> _Files:
    """The files of all sources in `source`, by the split that they name, or as `all`."""
    files: _Files = {}
    for one in _sources(source):
        found = fetch(one, cache_dir=cache_dir)
        read = _read_path(found) if isinstance(found, Path) else _read_hub(found)
        for split, sentences in read.items():
            files.setdefault(split, []).extend(sentences)
    if "all" in files and len(files) > 1:
        named = ", ".join(split for split in files if split != "all")
        raise InputError(f"{source}: one names its split ({named}) and another does not; use one kind only")
    return files


def _sources(source: str) -> list[str]:
    path, _, checksum = source.partition("#sha256=")
    if " " not in checksum and os.path.exists(os.path.expanduser(path)):
        return [source]
    return source.split() or [source]


def _read_path(path: Path) -> _Files:
    if not path.is_dir():
        return {"all": [read_conllu(path)]}
    treebanks = {"treebank": [file for file in visible_files(path) if data_suffix(file) in CONLLU_SUFFIXES]}
    _, files = one_layout(path, treebanks, "treebank", "files *.conllu or *.conll, also as .gz or .bz2")
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(split_of(file) or "all", []).append(file)
    if "all" in by_split and len(files) > 1:
        listed = ", ".join(file.name for file in files)
        raise InputError(
            f"{path}: has {listed}, but {by_split['all'][0].name} names no split; use one file, several separated by "
            "spaces, or a folder of files whose names say train, dev or test"
        )
    return {split: [read_conllu(file) for file in found] for split, found in by_split.items()}


def _read_hub(dataset: DatasetDict) -> _Files:
    return {
        split: [list(_hub_sentences(rows, f"hub split {split!r}"))] for split, rows in named_splits(dataset).items()
    }


def _hub_sentences(split: Dataset, place: str) -> Iterator[Sentence]:
    check_columns(split, _COLUMNS, place)
    columns = [*_COLUMNS, *(name for name in _TAGS if name in split.column_names)]
    classes = {name: _class_names(split, name) for name in columns}
    plain = split.with_format(None)
    ids = plain["idx"] if "idx" in split.column_names else [None] * split.num_rows
    with LineFaults(place) as faults:
        for row, (sent_id, *cells) in enumerate(zip(ids, *(plain[name] for name in columns), strict=True), start=1):
            where = f"{place}:{row}"
            sentence = None
            with faults.row():
                values = _values(dict(zip(columns, cells, strict=True)), classes, where)
                comments = [] if sent_id is None else [f"# sent_id = {'_'.join(str(sent_id).split())}"]
                sentence = next(parse_conllu(comments + _conllu_rows(values, where), where, trees=True))
            if sentence is not None:
                yield sentence


def _class_names(split: Dataset, column: str) -> list[str] | None:
    """The names of the classes whose numbers are in the lists of a column, if there are any."""
    inner = getattr(split.features[column], "feature", None)
    return getattr(inner, "names", None)


def _values(cells: dict[str, Any], classes: dict[str, list[str] | None], where: str) -> dict[str, list[Any]]:
    """The lists in one row, all of the same length, with names of classes in place of their numbers."""
    values = {}
    for column, cell in cells.items():
        if not isinstance(cell, list):
            raise InputError(f"{where}: column {column!r} is not a list; correct or delete this row")
        if len(cell) != len(cells["tokens"]):
            raise InputError(
                f"{where}: {len(cells['tokens'])} tokens, but column {column!r} has {len(cell)} values; correct or "
                "delete this row"
            )
        names = classes[column]
        if names is not None:
            cell = [None if number is None or number < 0 else names[number] for number in cell]
        values[column] = cell
    return values


def _conllu_rows(values: dict[str, list[Any]], where: str) -> list[str]:
    """The lines of the words; a token without head and relation is a multi-word token or empty node: it is skipped."""
    rows: list[str] = []
    for token, form in enumerate(values["tokens"]):
        upos, xpos, head, relation = (
            _cell(values[name][token]) if name in values else NONE for name in (*_TAGS, "head", "deprel")
        )
        if head != NONE or relation != NONE:
            form = " ".join(text_value(form, where).split())
            rows.append("\t".join([str(len(rows) + 1), form, NONE, upos, xpos, NONE, head, relation, NONE, NONE]))
    if not rows:
        raise InputError(f"{where}: no token has a head; use a split with trees, or delete this row")
    return rows


def _cell(value: Any) -> str:
    return NONE if value in _NO_VALUE else "_".join(str(value).split())
