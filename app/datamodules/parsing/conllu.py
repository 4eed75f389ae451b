"""Reading sentences and their dependency trees from CoNLL-U, and writing them back.

Decisions: a sentence keeps its lines as they were read, so that only heads and relations differ in what is written.
Everything that violates the format is an error that names file, line and sentence: nothing is guessed or skipped.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from app.datamodules.io.files import read_bytes, split_lines
from app.errors import InputError, LineFaults, row_of

COLUMNS = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
_ID, _FORM, _UPOS, _XPOS, _HEAD, _DEPREL = (COLUMNS.index(name) for name in "ID FORM UPOS XPOS HEAD DEPREL".split())
NONE = "_"  # the content of a column without a value
CONLLU_SUFFIXES = (".conllu", ".conll")
_SENT_ID = re.compile(r"#\s*sent_id\s*=\s*(\S+)")
_RANGE = re.compile(r"([1-9][0-9]{0,8})-([1-9][0-9]{0,8})")  # of a multi-word token
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
_NO_UTF_8 = re.compile("[\ud800-\udfff]")
_MAX_NAMED = 8  # words of a cycle in its error

_Row = tuple[int, list[str]]  # the position of a line in its sentence, and its columns
_Fault = Callable[[int, str], InputError]  # makes the error for a line of a sentence, from its position and a message


@dataclass(frozen=True)
class Sentence:
    """A sentence of W >= 1 words, with its dependency tree if it has one.

    Args:
        lines: all its lines as they were read, without their ends: comments, words, multi-word tokens and empty nodes.
        word_lines: (W,) the position of each word in `lines`.
        forms: (W,) the words.
        upos: (W,) their universal part of speech, `_` where there is none.
        xpos: (W,) their part of speech in the treebank's own tag set, `_` where there is none.
        heads: (W,) the number of each word's head, counted from 1, or 0 for the root; None if read without trees.
        relations: (W,) the relation of each word to its head; None if no word has one, or if read without trees.
        place: `FILE:LINE` of its first line, with its sent_id if it has one, for the beginning of an error about it.
    """

    lines: tuple[str, ...]
    word_lines: tuple[int, ...]
    forms: tuple[str, ...]
    upos: tuple[str, ...]
    xpos: tuple[str, ...]
    heads: tuple[int, ...] | None
    relations: tuple[str, ...] | None
    place: str

    def with_tree(self, heads: Sequence[int] | None, relations: Sequence[str] | None) -> str:
        r"""The sentence as CoNLL-U, with this tree and otherwise as it was read.

        Args:
            heads: (W,) the number of each word's head, 0 for the root; None for no tree, `_` in both columns.
            relations: (W,) the relation of each word to its head; None leaves the column as it was.

        Returns:
            Its lines, each followed by `\n`; another one makes the empty line that ends a sentence.
        """
        if heads is None:
            relations = [NONE] * len(self.word_lines)
        assert heads is None or len(heads) == len(self.word_lines)
        lines = list(self.lines)
        for word, position in enumerate(self.word_lines):
            columns = lines[position].split("\t")
            columns[_HEAD] = NONE if heads is None else str(heads[word])
            if relations is not None:
                columns[_DEPREL] = relations[word]
            lines[position] = "\t".join(columns)
        return "".join(f"{line}\n" for line in lines)


def read_conllu(path: Path, *, trees: bool = True) -> list[Sentence]:
    r"""All sentences of a file in CoNLL-U, or in the older CoNLL-X.

    Args:
        path: in utf-8, with lines that end in `\n` or `\r\n`; also as .gz or .bz2.
        trees: see `parse_conllu`.

    Raises:
        InputError: for a file that cannot be read or unpacked, and as `parse_conllu` does.
    """
    with LineFaults(path) as faults:
        return list(parse_conllu(conllu_lines(path), str(path), trees=trees, faults=faults))


def conllu_lines(path: Path) -> list[str]:
    """The lines of a file for `parse_conllu`, with bytes that are not utf-8 as halves of surrogate pairs.

    Raises:
        InputError: for a file that cannot be read or unpacked.
    """
    if os.path.isdir(path):
        raise InputError(f"{path}: is a folder; use a file in CoNLL-U")
    # bytes that are not utf-8 are left to the parser, which knows line and sentence
    return split_lines(read_bytes(path).decode("utf-8", "surrogateescape").removeprefix("\ufeff"))


def parse_conllu(
    lines: Iterable[str], file: str, *, trees: bool, faults: LineFaults | None = None
) -> Iterator[Sentence]:
    """Parse each sentence as soon as the empty line after it has come; the last one needs none.

    Args:
        lines: the lines without their ends.
        file: name of their file in errors.
        trees: whether every sentence must have a tree; otherwise its columns HEAD and DEPREL are ignored.
        faults: collects invalid sentences; None to stop at the first.

    Raises:
        InputError: naming file, line and sentence, for invalid CoNLL-U, an invalid tree, or lines without a sentence.
    """
    begun: list[str] = []  # the sentence whose end has not come yet
    number = 0
    is_empty = True
    for number, line in enumerate(chain(lines, [""]), start=1):
        if line:
            begun.append(line)
        elif begun:
            sentence, is_empty = None, False
            with row_of(faults):
                sentence = _sentence(begun, file, number - len(begun), trees)
            begun = []
            if sentence is not None:
                yield sentence
    if is_empty:
        raise InputError(f"{file}: has no sentence; use a file in CoNLL-U, with one word per line")


def _sentence(lines: list[str], file: str, first: int, trees: bool) -> Sentence:
    """The sentence of these lines, the first of which is line `first` of the file."""
    ids = (match[1] for line in lines if (match := _SENT_ID.match(line)))
    named = next((f" (sentence {sent_id})" for sent_id in ids), "")

    def fault(position: int, message: str) -> InputError:
        return InputError(f"{file}:{first + position}{named}: {message}")

    words = _words(_rows(lines, fault), fault)
    heads = relations = None
    if trees:
        heads, relations = _heads(words, fault), _relations(words, fault)
        _check_tree(heads, words, fault)
    forms, upos, xpos = (tuple(columns[column] for _, columns in words) for column in (_FORM, _UPOS, _XPOS))
    word_lines = tuple(position for position, _ in words)
    return Sentence(tuple(lines), word_lines, forms, upos, xpos, heads, relations, f"{file}:{first}{named}")


def _rows(lines: list[str], fault: _Fault) -> list[_Row]:
    """The lines after the comments, cut into columns."""
    rows: list[_Row] = []
    for position, line in enumerate(lines):
        if not line.isascii() and (broken := _NO_UTF_8.search(line)):
            raise fault(position, f"byte 0x{ord(broken[0]) & 0xFF:02x} is not utf-8; save the file as utf-8")
        if line[0].isspace():
            raise fault(
                position,
                "begins with white space; begin a word with its id and a comment with #, and separate sentences by an "
                "empty line",
            )
        if line[0] != "#":
            rows.append((position, _columns(position, line, fault)))
        elif rows:
            raise fault(
                position,
                f"comment {_shown(line)} is inside the sentence; move it before the first word, or end the sentence "
                "above it with an empty line",
            )
    if not rows:
        raise fault(0, "a comment without words; add the words, delete it, or delete the empty line after it")
    return rows


def _columns(position: int, line: str, fault: _Fault) -> list[str]:
    columns = line.split("\t")
    if len(columns) != len(COLUMNS):
        if len(line.split()) == len(COLUMNS):
            raise fault(position, "columns are separated by spaces; separate them by one tab each")
        raise fault(
            position,
            f"{len(columns)} column{'s' * (len(columns) > 1)}, not {len(COLUMNS)}; separate them by one tab each",
        )
    if not all(map(str.strip, columns)):
        name = next(name for name, column in zip(COLUMNS, columns, strict=True) if not column.strip())
        raise fault(position, f"column {name} is empty; write {NONE} for no value")
    return columns


def _words(rows: list[_Row], fault: _Fault) -> list[_Row]:
    """The lines of words, once all ids have been checked."""
    words: list[_Row] = []
    empty = 0  # number of empty nodes after the last word
    covered = covered_at = 0  # last word of the last multi-word token, and the position of this token
    is_opened = False  # whether the line above is a multi-word token, so that its first word must follow
    for position, columns in rows:
        found, expected = columns[_ID], len(words) + 1
        if found == str(expected):
            words.append((position, columns))
            empty, is_opened = 0, False
        elif "." in found and not is_opened:
            empty += 1
            if found != f"{len(words)}.{empty}":
                raise fault(position, f"id {_shown(found)} of an empty node; it must be {len(words)}.{empty} here")
        elif "-" in found and not is_opened:
            match = _RANGE.fullmatch(found)
            begin, end = (int(match[1]), int(match[2])) if match else (0, 0)
            if not covered < begin == expected <= end:
                raise fault(
                    position,
                    f"id {_shown(found)} of a multi-word token; it must be FIRST-LAST, the numbers of its words, on "
                    "the line before the first one, with no word in two tokens",
                )
            covered, covered_at, is_opened = end, position, True
        else:
            raise fault(position, f"id {_shown(found)}, expected word {expected}; number words 1, 2, 3 and so on")
    if not words:
        raise fault(rows[0][0], "no words in this sentence; add them, or delete it")
    if covered > len(words):
        raise fault(
            covered_at,
            f"multi-word token up to word {covered}, but the last word is {len(words)}; correct it or add the words",
        )
    return words


def _heads(words: list[_Row], fault: _Fault) -> tuple[int, ...]:
    numbers = {str(number): number for number in range(len(words) + 1)}  # int() would refuse thousands of digits
    heads = []
    for number, (position, columns) in enumerate(words, start=1):
        found, word = columns[_HEAD], _named(number, columns)
        head = numbers.get(found)
        if found == NONE and all(other[_HEAD] == NONE for _, other in words):
            raise fault(position, "no word has a head; to learn or score trees, use a file with them in column HEAD")
        if found == NONE:
            raise fault(position, f"{word} has no head, but others have; add it")
        if head is None:
            what = "outside the sentence" if _INTEGER.fullmatch(found) else "not a number"
            raise fault(position, f"head {_shown(found)} of {word} is {what}; allowed: 0 (root) to {len(words)}")
        if head == number:
            raise fault(position, f"{word} is its own head; use another word, or 0 for the root")
        heads.append(head)
    return tuple(heads)


def _relations(words: list[_Row], fault: _Fault) -> tuple[str, ...] | None:
    relations = tuple(columns[_DEPREL] for _, columns in words)
    if NONE not in relations:
        return relations
    if any(relation != NONE for relation in relations):
        number = relations.index(NONE) + 1
        position, columns = words[number - 1]
        raise fault(position, f"{_named(number, columns)} has no relation, but others have; add it")
    return None


def _check_tree(heads: tuple[int, ...], words: list[_Row], fault: _Fault) -> None:
    """Raise the error for heads that are not a tree with one root."""
    roots = [number for number, head in enumerate(heads, start=1) if head == 0]
    if not roots:
        raise fault(words[0][0], "no word is the root; one of them must have head 0")
    if len(roots) > 1:
        one, other = (_named(number, words[number - 1][1]) for number in roots[:2])
        raise fault(words[roots[1] - 1][0], f"{one} and {other} both have head 0; a sentence must have one root")
    cycle = _cycle(heads)
    if cycle:
        named = [_named(number, words[number - 1][1]) for number in cycle[:_MAX_NAMED]]
        more = "" if len(cycle) <= _MAX_NAMED else f" and {len(cycle) - _MAX_NAMED} more"
        raise fault(
            words[cycle[0] - 1][0],
            f"{', '.join(named)}{more} are a cycle, each with the next as its head, the last with the first; set the "
            "head of one of them to a word outside",
        )


def _cycle(heads: tuple[int, ...]) -> list[int]:
    """The words of one cycle, each followed by its head, from the first one in the sentence; empty if there is none."""
    reached_from = [0] * (len(heads) + 1)
    for start in range(1, len(heads) + 1):
        word = start
        while word and not reached_from[word]:
            reached_from[word] = start
            word = heads[word - 1]
        if word and reached_from[word] == start:
            cycle = [word]
            while heads[cycle[-1] - 1] != word:
                cycle.append(heads[cycle[-1] - 1])
            begin = cycle.index(min(cycle))
            return cycle[begin:] + cycle[:begin]
    return []


def _named(number: int, columns: list[str]) -> str:
    return f"word {number} {_shown(columns[_FORM])}"


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 40 else f"{text[:40]!r}..."
