"""Pairs of sentences, each the translation of the other, out of the formats in which such data is published.

Decisions: every pair remembers its file and line; what cannot be read is an error that names them. A side that is empty
is kept as an empty text, so that line n of one file stays the partner of line n of the other; only a catalog's messages
that are no sentences are left out, and counted. White space around a text is no part of it.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.datamodules.io.files import by_split, data_suffix, decode, read_bytes, split_lines, split_of, visible_files
from app.datamodules.io.hub import check_columns, named_splits
from app.datamodules.io.tables import TABLE_SUFFIXES, read_rows, text_value
from app.datamodules.translation.gettext_catalog import CATALOG_SUFFIXES, read_catalog
from app.errors import InputError

if TYPE_CHECKING:
    from datasets import DatasetDict

_PACKED = ("", ".gz", ".bz2")
_NO_LETTERS = re.compile(r"[\W_]+")
_TRANSLATION = "translation"  # the column in which the hub's translation sets hold both sides


@dataclass(frozen=True)
class ParallelTexts:
    """N pairs of one split, in the order of their files; the four lists are of length N.

    Args:
        sources: what is translated, without white space around it; may be empty.
        targets: its translations, likewise.
        files: where each pair was read: a file's path (of line-aligned files the source's), or the name of a hub split.
        lines: its line there, counted from 1; in parquet and hub datasets its row, in catalogs its message.
        dropped: reason -> how many more there were that the reader left out.
    """

    sources: list[str]
    targets: list[str]
    files: list[str]  # one string object a file: a pointer a pair
    lines: list[int]
    dropped: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert len(self.sources) == len(self.targets) == len(self.files) == len(self.lines)

    def __len__(self) -> int:
        return len(self.sources)

    def where(self, index: int) -> str:
        """`FILE:LINE` of a pair, the beginning of an error about it."""
        return f"{self.files[index]}:{self.lines[index]}"

    def subset(self, indices: Iterable[int]) -> ParallelTexts:
        """The pairs at `indices`, in their order."""
        chosen = list(indices)
        return ParallelTexts(
            [self.sources[index] for index in chosen],
            [self.targets[index] for index in chosen],
            [self.files[index] for index in chosen],
            [self.lines[index] for index in chosen],
            self.dropped,
        )

    @property
    def groups(self) -> np.ndarray:
        """(N,) int64, equal where the sources differ in nothing but case, white space and signs.

        Groups are numbered in the order in which they first appear. A source without letters and digits is compared
        as it is.
        """
        numbers: dict[str, int] = {}
        keys = (_NO_LETTERS.sub("", source.casefold()) or source for source in self.sources)
        return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def is_prefix(source: str | Path, source_language: str, target_language: str) -> bool:
    """Whether `source`, itself no file or folder, is the beginning of line-aligned files' names.

    `corpus/tst2012` is, if there is `corpus/tst2012.en` or `corpus/tst2012.vi.gz`; that one is there without the other
    is for `read_parallel_texts` to say.
    """
    path = Path(source).expanduser()
    return not os.path.exists(path) and any(_packings(path, code) for code in (source_language, target_language))


def read_parallel_texts(
    source: Path | DatasetDict,
    *,
    source_language: str,
    target_language: str,
    source_column: str | None = None,
    target_column: str | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
) -> dict[str, ParallelTexts]:
    """All pairs, by split.

    Read are line-aligned files, `NAME.en` beside `NAME.de`, also as .gz or .bz2, for each split in one folder, or one
    pair of them by its prefix `FOLDER/NAME`; as a file or as a folder with one file a split csv, tsv, jsonl and parquet
    (see `tables.read_rows`) and gettext catalogs (see `gettext_catalog.read_catalog`); and what the hub sent, with a
    column `translation` or a column for each language.

    Args:
        source: a file, a folder, a prefix, or a loaded hub dataset.
        source_language: code of the language to translate from, such as en: how files end, and columns are called.
        target_language: code of the other.
        source_column: where csv, tsv, jsonl, parquet and hub data have the source; by default called by its language.
        target_column: where they have the target, likewise.
        delimiter: of csv and tsv; by default a comma and a tab.
        encoding: by default utf-8, for a catalog what it says of itself.

    Returns:
        `train`, `val`, `test`, as far as names of files or splits say so, or `all` where nothing is split.

    Raises:
        InputError: for a layout that is unknown or ambiguous, a line that cannot be read, files of unequal length, or a
            split without pairs.
    """
    languages = (source_language, target_language)
    _check_languages(languages)
    columns = [source_column or source_language, target_column or target_language]
    if columns[0] == columns[1]:
        raise InputError(f"source and target are both read from column {columns[0]!r}; name two different columns")
    if not isinstance(source, Path):
        return _read_hub(source, columns, languages, is_named=bool(source_column or target_column))
    source = source.expanduser()
    if is_prefix(source, *languages):
        return {split_of(source) or "all": _read_aligned(source, languages, encoding)}
    layout, found = _recognise(source, languages)
    if layout == "aligned":
        return {split: _read_aligned(prefix, languages, encoding) for split, prefix in _pairs_by_split(found).items()}
    splits = {}
    for split, file in by_split(found).items():
        if layout == "table":
            splits[split] = _collect(str(file), read_rows(file, columns, delimiter, encoding))
        else:
            splits[split] = _collect(str(file), *read_catalog(file, *languages, encoding))
    return splits


def _check_languages(languages: tuple[str, str]) -> None:
    for code in languages:
        if not re.fullmatch(r"[A-Za-z0-9]+([-_@][A-Za-z0-9]+)*", code):
            raise InputError(f"language {code!r} is no code; allowed: letters and digits, such as en or pt_BR")
    if languages[0] == languages[1]:
        raise InputError(f"source and target language are both {languages[0]!r}; give two different ones")


def _packings(prefix: Path, language: str) -> list[Path]:
    """The files that are `PREFIX.LANGUAGE`, packed or not."""
    files = (prefix.parent / f"{prefix.name}.{language}{packed}" for packed in _PACKED)
    return [file for file in files if os.path.isfile(file)]  # unlike Path.is_file, False for a name that is too long


def _recognise(source: Path, languages: tuple[str, str]) -> tuple[str, list[Path]]:
    """The layout of a file or folder, and its files; of line-aligned files the prefixes."""
    one, other = languages
    if not source.exists():
        raise InputError(f"{source}: no such file or folder, and no {source.name}.{one} and {source.name}.{other}")
    files = visible_files(source) if source.is_dir() else [source]
    endings = re.compile(rf"(.+)\.(?:{re.escape(one)}|{re.escape(other)})(?:\.gz|\.bz2)?")
    names = {match[1] for file in files if (match := endings.fullmatch(file.name))}
    if names and not source.is_dir():
        raise InputError(f"{source}: is one side; give {source.with_name(names.pop())}, which stands for both")
    layouts = {
        "aligned": [source / name for name in sorted(names)],
        "table": [file for file in files if data_suffix(file) in TABLE_SUFFIXES],
        "catalog": [file for file in files if data_suffix(file) in CATALOG_SUFFIXES],
    }
    present = {layout: found for layout, found in layouts.items() if found}
    if not present:
        there = ", ".join(sorted(entry.name for entry in source.iterdir())[:8]) if source.is_dir() else ""
        holds = f" among {there}" if there else ""
        raise InputError(
            f"{source}: no translation data{holds}; allowed: NAME.{one} beside NAME.{other} (also .gz, .bz2); csv, "
            "tsv, jsonl, parquet, .mo or .po (one file, or one a split)"
        )
    if len(present) > 1:
        listed = ", ".join(file.name for found in present.values() for file in found)
        raise InputError(f"{source}: {listed} are of different layouts; give one file, or a folder with one layout")
    return present.popitem()


def _pairs_by_split(prefixes: list[Path]) -> dict[str, Path]:
    splits = [split_of(prefix) or "all" for prefix in prefixes]
    if len(set(splits)) < len(splits) or ("all" in splits and len(splits) > 1):
        listed = ", ".join(prefix.name for prefix in prefixes)
        raise InputError(
            f"{prefixes[0].parent}: holds the pairs {listed}, not one each for train, val and test; name those you "
            f"want, as data.source, data.val_source and data.test_source: {prefixes[0]}"
        )
    return by_split(prefixes)


def _read_aligned(prefix: Path, languages: tuple[str, str], encoding: str | None) -> ParallelTexts:
    files = []
    for language, other in (languages, languages[::-1]):
        found = _packings(prefix, language)
        if not found:
            there = _packings(prefix, other)[0].name
            raise InputError(f"{prefix}.{language}: is missing beside {there}; add it, also as .gz or .bz2")
        if len(found) > 1:
            raise InputError(f"{found[0]}: there is {found[1].name} beside it; leave one of them")
        files += found
    sides = [split_lines(decode(read_bytes(file), file, encoding or "utf-8")) for file in files]
    if len(sides[0]) != len(sides[1]):
        raise InputError(
            f"{files[0]}: has {len(sides[0])} lines, and {files[1].name} has {len(sides[1])}; line n of one must be "
            "the translation of line n of the other"
        )
    return _collect(str(files[0]), enumerate(zip(*sides, strict=True), start=1))


def _collect(
    place: str, rows: Iterable[tuple[int, Sequence[Any]]], dropped: Mapping[str, int] | None = None
) -> ParallelTexts:
    """Check and gather (line, (source, target)) of one file or hub split, which errors call `place`."""
    sources, targets, lines = [], [], []
    for line, (source, target) in rows:
        where = f"{place}:{line}"
        sources.append(_one_line(text_value(source, where, allow_empty=True)))
        targets.append(_one_line(text_value(target, where, allow_empty=True)))
        lines.append(line)
    if not sources:
        reasons = ", ".join(f"{count} {reason}" for reason, count in (dropped or {}).items())
        besides = f" besides what is left out ({reasons})" if reasons else ""
        raise InputError(f"{place}: holds no pairs{besides}; give data that does")
    return ParallelTexts(sources, targets, [place] * len(sources), lines, dropped or {})


def _one_line(text: str) -> str:
    """Runs of white space as one space: a cell of a table may hold line ends, and translations are one a line."""
    return " ".join(text.split())


def _read_hub(
    dataset: DatasetDict, columns: list[str], languages: tuple[str, str], *, is_named: bool
) -> dict[str, ParallelTexts]:
    splits = {}
    for split, rows in named_splits(dataset).items():
        place = f"hub split {split!r}"
        plain = rows.with_format(None)
        if _TRANSLATION in rows.column_names and not is_named:
            pairs: Iterable[Sequence[Any]] = _translations(plain[_TRANSLATION], languages, place)
        else:
            check_columns(rows, columns, place)
            pairs = zip(plain[columns[0]], plain[columns[1]], strict=True)
        splits[split] = _collect(place, enumerate(pairs, start=1))
    return splits


def _translations(cells: Iterable[Any], languages: tuple[str, str], place: str) -> Iterator[list[str]]:
    for row, cell in enumerate(cells, start=1):
        texts = cell if isinstance(cell, dict) else {}
        for language in languages:
            if texts.get(language) is None:  # a language that only other rows have is None here
                there = ", ".join(repr(code) for code, text in texts.items() if text is not None) or "no language"
                raise InputError(
                    f"{place}:{row}: no {language!r} in column {_TRANSLATION!r}, which has {there}; give other "
                    "languages, or name the columns that hold the texts"
                )
        yield [texts[language] for language in languages]
