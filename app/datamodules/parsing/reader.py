"""Treebanks out of the forms in which they are published: files in CoNLL-U, folders of them, and hub sets.

Decisions: what names its parts keeps them; what does not is dealt out by a rule, if one is given, or cut at random. A
hub set is written as CoNLL-U and read by the same parser, so that it is held to the same rules.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.datamodules.io.fetch import fetch
from app.datamodules.io.files import data_suffix, select_split, split_of, visible_files
from app.datamodules.io.hub import check_columns, named_splits
from app.datamodules.io.splitting import complete_splits
from app.datamodules.io.tables import text_value
from app.datamodules.parsing.conllu import NONE, Sentence, parse_conllu, read_conllu
from app.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

_SUFFIXES = (".conllu", ".conll")
_COLUMNS = ["tokens", "head", "deprel"]  # that a hub set must have
_TAGS = ("upos", "xpos")  # and may have
_NO_VALUE = (None, NONE, "None")  # the last is how universal_dependencies on the hub writes the first

_Files = dict[str, list[list[Sentence]]]  # part -> the sentences of each of its files


@dataclass(frozen=True)
class Treebank:
    """N sentences with their trees.

    Args:
        sentences: in the order of their files.
    """

    sentences: list[Sentence]

    def __len__(self) -> int:
        return len(self.sentences)

    @property
    def words(self) -> int:
        """Words of all sentences together."""
        return sum(len(sentence.forms) for sentence in self.sentences)

    def subset(self, indices: np.ndarray) -> Treebank:
        """The sentences at `indices`, in their order."""
        return Treebank([self.sentences[index] for index in indices])


def read_treebank(
    source: str,
    cache_dir: Path,
    *,
    val_source: str | None = None,
    test_source: str | None = None,
    split_modulo: int | None = None,
    fractions: dict[str, float],
    split_seed: int,
) -> dict[str, Treebank]:
    """The parts train, val and test, in this order.

    Read are files in CoNLL-U, plain or packed as .gz or .bz2; folders, where names of files say the part (train, dev,
    valid, val, test: one word of the name), several files of a part are joined in the order of their names, and a
    single file that names none is to be split; and hub sets with the columns tokens, head, deprel and perhaps upos,
    xpos and idx, as universal_dependencies has them.

    Args:
        source: what `source.fetch` takes, or several of them with a space between them, whose sentences are joined part
            by part; a path that exists is taken whole, whatever spaces it has.
        cache_dir: where downloads are kept.
        val_source: where the validation part is, if elsewhere: as source.
        test_source: where the test part is, if elsewhere: as source.
        split_modulo: deals out a source that names no parts: of every n sentences of a file, counted from 0, number
            n - 2 is for validation and n - 1 for testing, unless these have a source of their own.
        fractions: share of `val` and of `test`, cut at random where they are missing.
        split_seed: of that cut.

    Raises:
        InputError: for a source that cannot be read, one that names parts only here and there, nothing to train on, a
            sentence without a tree, a number that is not allowed, or a part that comes out empty.
    """
    if split_modulo is not None and split_modulo < 3:
        raise InputError(f"data.split_modulo is {split_modulo}; allowed: 3 and more, or null for a cut at random")
    files = _read(source, cache_dir)
    for part, other in (("val", val_source), ("test", test_source)):
        if other is not None:
            files[part] = select_split(_read(other, cache_dir), part, other)
    if split_modulo is not None:
        files = _dealt_out(files, split_modulo, source)
    parts = {part: Treebank([sentence for file in read for sentence in file]) for part, read in files.items()}
    return complete_splits(parts, fractions, split_seed)


def _dealt_out(files: _Files, modulo: int, source: str) -> _Files:
    """`files` with parts train, val and test in the place of `all`."""
    if "all" not in files:
        raise InputError(f"{source}: names its parts ({', '.join(files)}), so data.split_modulo must be null")
    own = {modulo - 2: "val", modulo - 1: "test"}
    dealt: dict[str, list[Sentence]] = {part: [] for part in ("train", "val", "test") if part not in files}
    for file in files["all"]:
        for index, sentence in enumerate(file):
            part = own.get(index % modulo, "train")
            dealt[part if part in dealt else "train"].append(sentence)
    for part, sentences in dealt.items():
        if not sentences:
            count = sum(map(len, files["all"]))
            raise InputError(
                f"{source}: the {part} part is empty: {count} sentences were dealt out by data.split_modulo {modulo}; "
                "give more data, or a smaller number"
            )
    published = {part: read for part, read in files.items() if part != "all"}
    return published | {part: [sentences] for part, sentences in dealt.items()}


def _read(source: str, cache_dir: Path) -> _Files:
    """The files of all sources in `source`, by the part that they name, or as `all`."""
    files: _Files = {}
    for one in _sources(source):
        found = fetch(one, cache_dir=cache_dir)
        read = _read_path(found) if isinstance(found, Path) else _read_hub(found)
        for part, sentences in read.items():
            files.setdefault(part, []).extend(sentences)
    if "all" in files and len(files) > 1:
        named = ", ".join(part for part in files if part != "all")
        raise InputError(f"{source}: one names its part ({named}) and another does not; give one kind only")
    return files


def _sources(source: str) -> list[str]:
    path, _, checksum = source.partition("#sha256=")
    if " " not in checksum and os.path.exists(os.path.expanduser(path)):
        return [source]
    return source.split() or [source]


def _read_path(path: Path) -> _Files:
    if not path.is_dir():
        return {"all": [read_conllu(path)]}
    files = [file for file in visible_files(path) if data_suffix(file) in _SUFFIXES]
    by_part: dict[str, list[Path]] = {}
    for file in files:
        by_part.setdefault(split_of(file) or "all", []).append(file)
    unnamed = by_part.get("all", [])
    if not files:
        names = ", ".join(sorted(entry.name for entry in path.iterdir())[:8])
        holds = f" among {names}" if names else ""
        raise InputError(f"{path}: no treebank{holds}; allowed: files *.conllu or *.conll, also as .gz or .bz2")
    if unnamed and len(files) > 1:
        listed = ", ".join(file.name for file in files)
        raise InputError(
            f"{path}: holds {listed}, and {unnamed[0].name} names no part; give one file, several with a space between "
            "them, or a folder of files whose names say train, dev or test"
        )
    return {part: [read_conllu(file) for file in found] for part, found in by_part.items()}


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
    for row, (sent_id, *cells) in enumerate(zip(ids, *(plain[name] for name in columns), strict=True), start=1):
        where = f"{place}:{row}"
        values = _values(dict(zip(columns, cells, strict=True)), classes, where)
        comments = [] if sent_id is None else [f"# sent_id = {'_'.join(str(sent_id).split())}"]
        yield next(parse_conllu(comments + _conllu_rows(values, where), where, trees=True))


def _class_names(split: Dataset, column: str) -> list[str] | None:
    """What the numbers in the lists of a column stand for, if anything."""
    inner = getattr(split.features[column], "feature", None)
    return getattr(inner, "names", None)


def _values(cells: dict[str, Any], classes: dict[str, list[str] | None], where: str) -> dict[str, list[Any]]:
    """The lists in one row, all of one length, with names of classes in the place of their numbers."""
    values = {}
    for column, cell in cells.items():
        if not isinstance(cell, list):
            raise InputError(f"{where}: column {column!r} holds no list; correct or delete this row")
        if len(cell) != len(cells["tokens"]):
            raise InputError(
                f"{where}: {len(cells['tokens'])} tokens, and column {column!r} has {len(cell)} values; correct or "
                "delete this row"
            )
        names = classes[column]
        if names is not None:
            cell = [None if number is None or number < 0 else names[number] for number in cell]
        values[column] = cell
    return values


def _conllu_rows(values: dict[str, list[Any]], where: str) -> list[str]:
    """The lines of the words; a token without head and relation is a multi-word token or empty node, and left out."""
    rows: list[str] = []
    for token, form in enumerate(values["tokens"]):
        upos, xpos, head, relation = (
            _cell(values[name][token]) if name in values else NONE for name in (*_TAGS, "head", "deprel")
        )
        if head != NONE or relation != NONE:
            form = " ".join(text_value(form, where).split())
            rows.append("\t".join([str(len(rows) + 1), form, NONE, upos, xpos, NONE, head, relation, NONE, NONE]))
    if not rows:
        raise InputError(f"{where}: no token has a head; give a split with trees, or delete this row")
    return rows


def _cell(value: Any) -> str:
    return NONE if value in _NO_VALUE else "_".join(str(value).split())
