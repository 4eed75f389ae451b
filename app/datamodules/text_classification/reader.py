"""Sentences with one class each, from the formats in which such data is published.

Decisions: every example knows its file and line; what cannot be read is an error that names them, and nothing is
skipped silently. White space around a text or a label is removed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from app.datamodules.io.chunks import Chunks
from app.datamodules.io.files import by_split, data_suffix, one_layout, read_bytes, read_lines, visible_files
from app.datamodules.io.hub import labelled_splits
from app.datamodules.io.records import Records
from app.datamodules.io.tables import TABLE_SUFFIXES, TableStyle, label_value, read_rows, text_value
from app.datamodules.io.texts import texts_to_predict
from app.errors import InputError, LineFaults

if TYPE_CHECKING:
    from datasets import DatasetDict

_LAYOUTS = {
    "table": TABLE_SUFFIXES,
    "sst": (".train", ".dev", ".test"),
    "polarity": (".pos", ".neg"),
}
_ALLOWED = (
    "csv, tsv, jsonl or parquet (one file, or one per split); *.train, *.dev, *.test; *.pos and *.neg; with "
    "data.format label_text any file whose lines are a label and a text"
)
Form = Literal["auto", "label_text"]
_Rows = Iterable[tuple[int, Sequence[Any]]]  # (line, (text, label))
_ReadRows = Callable[[LineFaults], _Rows]  # skips the invalid lines that it collects


@dataclass(frozen=True)
class LabelledTexts(Records):
    """N texts of one split, in the order of their files.

    Args:
        texts: the texts, never empty, without white space around them.
        labels: the class of each text, as text.
        files: see `Records`, as for lines.
        lines: see `Records`.
        skipped: how many further examples there were, by the reason for which they are skipped: `without a text`, or
            the label that is ignored.
    """

    texts: list[str]
    labels: list[str]
    files: list[str]
    lines: list[int]
    skipped: Mapping[str, int] = field(default_factory=dict)

    @property
    def keys(self) -> list[str]:
        """The texts."""
        return self.texts

    @property
    def answers(self) -> list[str]:
        """The classes."""
        return self.labels

    def without_repetitions(self) -> LabelledTexts:
        """Each text once: where it is first, with the label that it has there."""
        return self.subset(sorted(self._first.values()))

    @property
    def contradictions(self) -> list[int]:
        """Where a text is repeated with another label than where it is first."""
        first = self._first
        return [i for i, text in enumerate(self.texts) if self.labels[i] != self.labels[first[text]]]

    @property
    def _first(self) -> dict[str, int]:
        return {text: index for index, text in reversed(list(enumerate(self.texts)))}


def read_labelled_texts(
    source: Path | DatasetDict,
    *,
    text_column: str = "text",
    label_column: str = "label",
    ignore_labels: Collection[str] = (),
    encoding: str | None = None,
    style: TableStyle | None = None,
    form: Form = "auto",
) -> dict[str, LabelledTexts]:
    """All examples, by split.

    The layouts are, as a file or as a folder with one file per split: csv, tsv, jsonl and parquet (see
    `tables.read_rows`); SST's `*.train`, `*.dev`, `*.test` with `LABEL sentence` per line; `*.pos` next to `*.neg` with
    one sentence per line, whose labels are `pos` and `neg`, in this order; and hub datasets.

    Args:
        source: a file, a folder, or a loaded hub dataset.
        text_column: column of the text in csv, tsv, jsonl, parquet and hub data.
        label_column: column of the class there; a hub dataset's own class names are used.
        ignore_labels: classes to skip; their rows are counted in `skipped`, as those without a text are.
        encoding: by default utf-8; *.pos and *.neg that are not utf-8 are read as cp1252, as RT was published.
        style: of csv and tsv.
        form: label_text to read every file as SST's, whatever its ending; auto to go by the ending.

    Returns:
        `train`, `val`, `test`, if names of files or splits say so, or `all` where nothing is split; without hub splits
        that have no labels.

    Raises:
        InputError: for an unknown or ambiguous layout, a line that cannot be read, or a split without examples.
    """
    if not isinstance(source, Path):
        return {
            split: _collect(place, partial(_hub_rows, rows[text_column], labels), ignore_labels)
            for split, place, rows, labels in labelled_splits(source, text_column, label_column)
        }
    candidates = visible_files(source) if source.is_dir() else [source]
    found = {name: [f for f in candidates if data_suffix(f) in suffixes] for name, suffixes in _LAYOUTS.items()}
    if form == "label_text":
        found = {"sst": candidates}
    layout, files = one_layout(source, found, "text classification data", _ALLOWED)
    if layout == "polarity":
        return _read_polarity(source, files, ignore_labels, encoding)
    splits = {}
    for split, file in by_split(files).items():
        if layout == "sst":
            read: _ReadRows = partial(_sst_rows, file, encoding)
        else:
            read = partial(read_rows, file, [text_column, label_column], encoding, style)
        splits[split] = _collect(str(file), read, ignore_labels)
    return splits


def texts_to_classify(
    source: str,
    *,
    text_column: str,
    encoding: str,
    style: TableStyle,
    form: Form,
    labels: Collection[str],
    chunk_size: int,
) -> Chunks[Sequence[str]]:
    """The texts of a file to predict classes for, prepared as `read_labelled_texts` prepares them; empty ones, too.

    Labels in the file are not used: other columns of a table, and the first word in a line of *.train, *.dev and *.test
    files, or of all with `form` label_text, which must be one of `labels`. In other files and on standard input each
    line is a text.

    Args:
        source: see `texts_to_predict`.
        text_column: see `texts_to_predict`.
        encoding: of text; *.pos and *.neg that are not utf-8 are read as cp1252 where it is utf-8.
        style: of csv and tsv.
        form: see `read_labelled_texts`.
        labels: all that may be in the file.
        chunk_size: number of texts of a chunk.

    Raises:
        InputError: as `texts_to_predict` does, and for a line that does not begin with a label.
    """
    suffix = data_suffix(Path(source))
    remedy = f"rename a file without labels, such as {Path(source).stem}.txt"
    if form == "label_text":
        remedy = "set data.format auto for a file without labels"

    def without_labels(file: Path, encoding: str) -> Iterator[str]:
        known = ", ".join(sorted(labels))
        with LineFaults(file) as faults:
            for line, (text, label) in _sst_rows(file, encoding, faults):
                if label not in labels:
                    faults.add(InputError(f"{file}:{line}: {label!r} is not a label ({known}) before a text; {remedy}"))
                yield text

    if suffix in _LAYOUTS["polarity"] and encoding == "utf-8":
        encoding = _polarity_encoding(Path(source))
    read = without_labels if form == "label_text" or suffix in _LAYOUTS["sst"] else read_lines
    return texts_to_predict(source, text_column, encoding, chunk_size=chunk_size, style=style, read=read)


def _collect(place: str, read: _ReadRows, ignore_labels: Collection[str]) -> LabelledTexts:
    """Check and collect the (line, (text, label)) of a file or hub split, whose name in errors is `place`."""
    texts, labels, lines, skipped = [], [], [], Counter[str]()
    with LineFaults(place) as faults:
        for line, (text, label) in read(faults):
            with faults.row():
                label = label_value(label, f"{place}:{line}")
                if label in ignore_labels:
                    skipped[f"labelled {label}"] += 1
                elif found := text_value(text, f"{place}:{line}", allow_empty=True):
                    texts.append(found)
                    labels.append(label)
                    lines.append(line)
                else:
                    skipped["without a text"] += 1
    if not texts:
        ignored = f" except those {', '.join(sorted(skipped))}, which are skipped" if skipped else ""
        raise InputError(f"{place}: has no examples{ignored}; use data that has some")
    return LabelledTexts(texts, labels, [place] * len(texts), lines, skipped)


def _hub_rows(texts: Iterable[Any], labels: list[str], faults: LineFaults) -> _Rows:
    return enumerate(zip(texts, labels, strict=True), start=1)


def _sst_rows(file: Path, encoding: str | None, faults: LineFaults) -> _Rows:
    for line, record in enumerate(read_lines(file, encoding), start=1):
        fields = record.split(maxsplit=1)
        if not fields:
            wanted = "each line must be a label, a space and a sentence"
            faults.add(InputError(f"{file}:{line}: an empty line; {wanted}"))
            continue
        yield line, [fields[1] if len(fields) > 1 else "", fields[0]]


def _read_polarity(
    source: Path, files: list[Path], ignore_labels: Collection[str], encoding: str | None
) -> dict[str, LabelledTexts]:
    sides = {label: by_split(file for file in files if data_suffix(file) == f".{label}") for label in ("pos", "neg")}
    if sides["pos"].keys() != sides["neg"].keys():
        names = ", ".join(file.name for file in files)
        raise InputError(f"{source}: one of {names} has no partner; use a folder with a .pos next to each .neg")
    splits = {}
    for split in sides["pos"]:
        pos, neg = (
            _collect(str(files[split]), partial(_sentences, files[split], label, encoding), ignore_labels)
            for label, files in sides.items()
        )
        splits[split] = LabelledTexts(
            pos.texts + neg.texts,
            pos.labels + neg.labels,
            pos.files + neg.files,
            pos.lines + neg.lines,
            Counter(pos.skipped) + Counter(neg.skipped),
        )
    return splits


def _sentences(file: Path, label: str, encoding: str | None, faults: LineFaults) -> _Rows:
    return enumerate(
        ((sentence, label) for sentence in read_lines(file, encoding or _polarity_encoding(file))), start=1
    )


def _polarity_encoding(file: Path) -> str:
    """utf-8, or cp1252 for a file that is not, as RT was published."""
    try:
        read_bytes(file).decode()
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"
