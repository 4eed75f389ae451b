"""Pairs of sentences, each the translation of the other, from the formats in which such data is published.

Decisions: every pair knows its file and line; what cannot be read is an error that names them. An empty side is kept as
an empty text, so that line n of one file stays the partner of line n of the other; only messages of a catalog that are
not sentences are skipped, and counted. White space around a text is removed.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.datamodules.io.files import by_split, data_suffix, one_layout, read_lines, split_of, visible_files
from app.datamodules.io.hub import check_columns, named_splits
from app.datamodules.io.records import Records
from app.datamodules.io.tables import TABLE_SUFFIXES, TableStyle, read_rows, text_value
from app.datamodules.translation.gettext_catalog import CATALOG_SUFFIXES, read_catalog
from app.errors import InputError, LineFaults

if TYPE_CHECKING:
    from datasets import DatasetDict

_PACKED = ("", ".gz", ".bz2")
_NO_LETTERS = re.compile(r"[\W_]+")
_TRANSLATION = "translation"  # the column with both sides in the hub's translation datasets
_Rows = Iterable[tuple[int, Sequence[Any]]]  # (line, (source, target))
_ReadRows = Callable[[LineFaults], _Rows]  # skips the invalid lines that it collects


@dataclass(frozen=True)
class ParallelTexts(Records):
    """N pairs of one split, in the order of their files.

    Args:
        sources: the texts to translate, without white space around them; they may be empty.
        targets: their translations, without white space around them; they may be empty.
        files: see `Records`; of line-aligned files the one of the sources.
        lines: see `Records`; in catalogs the number of the message.
        skipped: how many further pairs the reader skipped, by reason.
    """

    sources: list[str]
    targets: list[str]
    files: list[str]
    lines: list[int]
    skipped: Mapping[str, int] = field(default_factory=dict)

    @property
    def keys(self) -> list[str]:
        """The sources in lower case without white space and signs; one without letters and digits as it is."""
        return [_NO_LETTERS.sub("", source.casefold()) or source for source in self.sources]

    @property
    def answers(self) -> list[str]:
        """The targets."""
        return self.targets


def one_line(text: str) -> str:
    """Replace runs of white space by one space: cells of tables may have line ends, and translations are lines."""
    return " ".join(text.split())


def is_prefix(source: str | Path, source_language: str, target_language: str) -> bool:
    """Whether `source` is not a file or folder, but the prefix of the names of line-aligned files.

    `corpus/tst2012` is one if `corpus/tst2012.en` or `corpus/tst2012.vi.gz` exists; if only one of them does,
    `read_parallel_texts` reports it.
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
    encoding: str | None = None,
    style: TableStyle | None = None,
) -> dict[str, ParallelTexts]:
    """All pairs, by split.

    The layouts are line-aligned files, `NAME.en` next to `NAME.de`, also as .gz or .bz2, for each split in one folder,
    or one pair of them by its prefix `FOLDER/NAME`; as a file or as a folder with one file per split csv, tsv, jsonl
    and parquet (see `tables.read_rows`) and gettext catalogs (see `gettext_catalog.read_catalog`); and hub datasets
    with a column `translation` or a column for each language.

    Args:
        source: a file, a folder, a prefix, or a loaded hub dataset.
        source_language: see `TranslationData`, as for the columns.
        target_language: see `TranslationData`.
        source_column: see `TranslationData`.
        target_column: see `TranslationData`.
        encoding: by default utf-8, or what a catalog says of itself.
        style: of csv and tsv.

    Returns:
        `train`, `val`, `test`, if names of files or splits say so, or `all` where nothing is split.

    Raises:
        InputError: for an unknown or ambiguous layout, a line that cannot be read, files of unequal length, or a split
            without pairs.
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
            splits[split] = _collect(str(file), partial(read_rows, file, columns, encoding, style))
        else:
            messages, skipped = read_catalog(file, *languages, encoding)
            splits[split] = _collect(str(file), _given(messages), skipped)
    return splits


def _check_languages(languages: tuple[str, str]) -> None:
    for code in languages:
        if not re.fullmatch(r"[A-Za-z0-9]+([-_@][A-Za-z0-9]+)*", code):
            raise InputError(f"language {code!r} is not a code; use letters and digits, such as en or pt_BR")
    if languages[0] == languages[1]:
        raise InputError(f"source and target language are both {languages[0]!r}; use two different ones")


def _packings(prefix: Path, language: str) -> list[Path]:
    """The files that are `PREFIX.LANGUAGE`, packed or not."""
    files = (prefix.parent / f"{prefix.name}.{language}{packed}" for packed in _PACKED)
    return [file for file in files if os.path.isfile(file)]  # unlike Path.is_file, False for a name that is too long


def _recognise(source: Path, languages: tuple[str, str]) -> tuple[str, list[Path]]:
    """The layout of a file or folder, and its files, or for line-aligned files their prefixes."""
    one, other = languages
    if not source.exists():
        raise InputError(f"{source}: no such file or folder, and no {source.name}.{one} and {source.name}.{other}")
    files = visible_files(source) if source.is_dir() else [source]
    endings = re.compile(rf"(.+)\.(?:{re.escape(one)}|{re.escape(other)})(?:\.gz|\.bz2)?")
    names = {match[1] for file in files if (match := endings.fullmatch(file.name))}
    if names and not source.is_dir():
        raise InputError(f"{source}: is one side; use {source.with_name(names.pop())}, which names both")
    layouts = {
        "aligned": [source / name for name in sorted(names)],
        "table": [file for file in files if data_suffix(file) in TABLE_SUFFIXES],
        "catalog": [file for file in files if data_suffix(file) in CATALOG_SUFFIXES],
    }
    allowed = (
        f"NAME.{one} next to NAME.{other} (also .gz, .bz2); csv, tsv, jsonl, parquet, .mo or .po (one file, or one "
    )
    return one_layout(source, layouts, "translation data", f"{allowed}per split)")


def _pairs_by_split(prefixes: list[Path]) -> dict[str, Path]:
    splits = [split_of(prefix) or "all" for prefix in prefixes]
    if len(set(splits)) < len(splits) or ("all" in splits and len(splits) > 1):
        listed = ", ".join(prefix.name for prefix in prefixes)
        raise InputError(
            f"{prefixes[0].parent}: has the pairs {listed}, not one each for train, val and test; name those you "
            f"want as data.source, data.val_source and data.test_source, such as {prefixes[0]}"
        )
    return by_split(prefixes)


def _read_aligned(prefix: Path, languages: tuple[str, str], encoding: str | None) -> ParallelTexts:
    files = []
    for language, other in (languages, languages[::-1]):
        found = _packings(prefix, language)
        if not found:
            there = _packings(prefix, other)[0].name
            raise InputError(f"{prefix}.{language}: is missing next to {there}; add it, also as .gz or .bz2")
        if len(found) > 1:
            raise InputError(f"{found[0]}: {found[1].name} is next to it; remove one of them")
        files += found
    sides = [read_lines(file, encoding) for file in files]
    if len(sides[0]) != len(sides[1]):
        raise InputError(
            f"{files[0]}: has {len(sides[0])} lines, and {files[1].name} has {len(sides[1])}; line n of one must be "
            "the translation of line n of the other"
        )
    return _collect(str(files[0]), _given(enumerate(zip(*sides, strict=True), start=1)))


def _given(rows: _Rows) -> _ReadRows:
    return lambda faults: rows


def _collect(place: str, read: _ReadRows, skipped: Mapping[str, int] | None = None) -> ParallelTexts:
    """Check and collect the (line, (source, target)) of a file or hub split, whose name in errors is `place`."""
    sources, targets, lines = [], [], []
    with LineFaults(place) as faults:
        for line, (source, target) in read(faults):
            with faults.row():
                where = f"{place}:{line}"
                sources.append(one_line(text_value(source, where, allow_empty=True)))
                targets.append(one_line(text_value(target, where, allow_empty=True)))
                lines.append(line)
    if not sources:
        reasons = ", ".join(f"{count} {reason}" for reason, count in (skipped or {}).items())
        besides = f" except skipped ones ({reasons})" if reasons else ""
        raise InputError(f"{place}: has no pairs{besides}; use data that has some")
    return ParallelTexts(sources, targets, [place] * len(sources), lines, skipped or {})


def _read_hub(
    dataset: DatasetDict, columns: list[str], languages: tuple[str, str], *, is_named: bool
) -> dict[str, ParallelTexts]:
    splits = {}
    for split, rows in named_splits(dataset).items():
        place = f"hub split {split!r}"
        plain = rows.with_format(None)
        if _TRANSLATION in rows.column_names and not is_named:
            splits[split] = _collect(place, partial(_translations, plain[_TRANSLATION], languages, place))
        else:
            check_columns(rows, columns, place)
            sides = (plain[column] for column in columns)
            splits[split] = _collect(place, _given(enumerate(zip(*sides, strict=True), start=1)))
    return splits


def _translations(
    cells: Iterable[Any], languages: tuple[str, str], place: str, faults: LineFaults
) -> Iterator[tuple[int, list[str]]]:
    for row, cell in enumerate(cells, start=1):
        texts = cell if isinstance(cell, dict) else {}
        missing = [language for language in languages if texts.get(language) is None]  # None where other rows have it
        if missing:
            there = ", ".join(repr(code) for code, text in texts.items() if text is not None) or "no language"
            faults.add(
                InputError(
                    f"{place}:{row}: no {missing[0]!r} in column {_TRANSLATION!r}, which has {there}; use other "
                    "languages, or name the columns of the texts"
                )
            )
        else:
            yield row, [texts[language] for language in languages]
