"""Sentence pairs from gettext catalogs: the messages of a program and their translations.

Decisions: a message with placeholders is not a sentence and is skipped, as is one that does not help to learn
translation; they are counted by reason. What only an interface needs (marks of keyboard shortcuts, markup, line breaks)
is removed from the others; `<count>` and the like, which the user of the program sees, are not markup and stay.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from app.datamodules.io.files import data_suffix, decode, read_bytes
from app.datamodules.translation.detokenize import unescape_entities
from app.errors import InputError

if TYPE_CHECKING:
    from polib import MOFile, POFile

CATALOG_SUFFIXES = (".mo", ".po")
_BYTE_ORDERS = {b"\xde\x12\x04\x95": "<", b"\x95\x04\x12\xde": ">"}  # by the first four bytes of a .mo file
# %s %(name)s %-5.2f %1$s %Y %% %1; {name} {0}; $name ${name} $1
_PLACEHOLDER = re.compile(r"%(?:[-+#0*\d.$]*[A-Za-z(%@]|\d)|\{[^{}]*\}|\$\{?\w")
_INLINE = "a|b|big|code|em|font|i|kbd|q|s|small|span|strong|sub|sup|tt|u"
_BLOCK = "blockquote|body|br|center|div|h[1-6]|hr|html|img|li|markup|ol|p|pre|table|td|th|tr|ul"
_REMOVED = [  # in this order, with their replacements
    (re.compile(rf"<(?:/\s*)?(?:{_BLOCK})(?:\s[^<>]*)?/?>", re.IGNORECASE), " "),
    (re.compile(rf"<(?:/\s*)?(?:{_INLINE})(?:\s[^<>]*)?/?>", re.IGNORECASE), ""),
    (re.compile(r"\s*\([_&]\w\)"), ""),  # 文件(_F)
    (re.compile(r"(?<![\w&])(?:_(?=[^\W_])|&(?!#?\w+;)(?=\w))"), ""),  # _File, &File; not &lt;
]
_SHORTCUT_INSIDE = re.compile(r"(?<=[^\W_])(?:_(?=[^\W_])|&(?!#?\w+;)(?=[a-zß-ÿ]))")  # Ma_ximum, E&xit; not AT&T
_WORD = re.compile(r"[^\W\d_]+")
_CHUNK = re.compile(r"[\w&]+")


def read_catalog(
    path: Path, source_language: str, target_language: str, encoding: str | None = None
) -> tuple[list[tuple[int, tuple[str, str]]], Mapping[str, int]]:
    """The sentence pairs of a catalog (the singular of plural messages), and how many messages were skipped.

    A catalog declares the language of its translations, not that of its messages: if this is the source language, the
    translations are the sources.

    Args:
        path: a .mo or .po file, also as .gz or .bz2.
        source_language: code of the language to translate from, such as en.
        target_language: code of the language to translate into.
        encoding: by default the one that the catalog declares, or utf-8.

    Returns:
        (number, (source, target)) of each pair, where number is that of its message in the catalog, counted from 1
        without the header; and the number of skipped messages by reason.

    Raises:
        InputError: if it cannot be read as a catalog, or is in another language.
    """
    catalog = _load(path, encoding)
    is_swapped = _is_swapped(path, catalog.metadata.get("Language", ""), source_language, target_language)
    messages: list[tuple[int, tuple[str, str]]] = []
    skipped = Counter[str]()
    for number, entry in enumerate(catalog, start=1):
        translation = entry.msgstr_plural.get(0, "") if entry.msgid_plural else entry.msgstr
        if entry.obsolete or "fuzzy" in entry.flags:
            skipped["obsolete" if entry.obsolete else "fuzzy"] += 1
        elif not translation.strip():
            skipped["untranslated"] += 1
        elif _PLACEHOLDER.search(entry.msgid) or _PLACEHOLDER.search(translation):
            skipped["with placeholders"] += 1
        else:
            messages.append((number, (entry.msgid, translation)))
    sides = [_clean([pair[side] for _, pair in messages]) for side in (0, 1)]
    pairs: dict[tuple[str, str], int] = {}
    for (number, _), source, target in zip(messages, *sides, strict=True):
        if source is None or target is None:
            skipped["underscore inside a word"] += 1
        elif source == target:
            skipped["source equals target"] += 1
        elif min(_count_words(source), _count_words(target)) < 2:
            skipped["one word"] += 1
        elif (source, target) in pairs:
            skipped["repeated"] += 1
        else:
            pairs[source, target] = number
    return [(number, pair[::-1] if is_swapped else pair) for pair, number in pairs.items()], dict(skipped)


def _load(path: Path, encoding: str | None) -> MOFile | POFile:
    import polib  # here, because other formats do not need it

    data = read_bytes(path)
    if data_suffix(path) == ".mo":
        _check_tables(path, data)
        content: bytes | str = data
        encoding = encoding or polib.detect_encoding(data, True)
    else:
        encoding = encoding or polib.detect_encoding(data)
        content = decode(data, path, encoding) + "\n"  # never a file name, which polib would open
    try:
        return (polib.mofile if data_suffix(path) == ".mo" else polib.pofile)(content, encoding=encoding)
    except Exception as error:  # for an invalid file polib raises almost any kind
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        line = re.search(r"\(line (\d+)\)", reason)
        place = f"{path}:{line[1]}" if line else path
        raise InputError(f"{place}: not a valid gettext catalog ({reason}); check it with msgfmt") from error


def _check_tables(path: Path, data: bytes) -> None:
    """Raise InputError if a text of a .mo is beyond the end of the file: polib would truncate it silently."""
    order = _BYTE_ORDERS.get(data[:4])
    if order is None:
        raise InputError(f"{path}: is not a gettext catalog (it begins with {data[:4]!r}); use a .mo made by msgfmt")
    try:
        count, *tables = struct.unpack_from(f"{order}III", data, 8)
        for place in (table + 8 * number for table in tables for number in range(count)):
            length, begin = struct.unpack_from(f"{order}II", data, place)
            if begin + length > len(data):
                raise InputError(f"{path}: is truncated: a text is beyond its {len(data)} bytes; fetch it again")
    except struct.error as error:
        raise InputError(f"{path}: is truncated: its tables are beyond {len(data)} bytes; fetch it again") from error


def _is_swapped(path: Path, language: str, source_language: str, target_language: str) -> bool:
    codes = (language, source_language, target_language)
    here, source, target = (re.split(r"[-_@.]", code)[0].lower() for code in codes)
    if here in ("", target):
        return False
    if here != source:
        raise InputError(
            f"{path}: its header says Language: {language}, which is neither {source_language} nor {target_language}; "
            "use a catalog of one of them"
        )
    return True


def _clean(texts: list[str]) -> list[str | None]:
    """One side of all pairs as sentences; None if an underscore may mark a shortcut or be part of a name.

    `Ma_ximum` and `FAMILY_TREE` look alike: the underscore marks a shortcut if the rest is a word elsewhere.
    """
    for pattern, by in _REMOVED:
        texts = [pattern.sub(by, text) for text in texts]
    vocabulary = _vocabulary(texts)
    cleaned: list[str | None] = []
    for text in texts:
        text = _CHUNK.sub(lambda match: _joined(match.group(), vocabulary), text)
        unclear = any("_" in match.group() for match in _SHORTCUT_INSIDE.finditer(text))
        cleaned.append(None if unclear else " ".join(unescape_entities(text).split()))
    return cleaned


def _vocabulary(texts: Iterable[str]) -> set[str]:
    return {chunk.casefold() for text in texts for chunk in _CHUNK.findall(text) if not re.search("[_&]", chunk)}


def _joined(chunk: str, vocabulary: set[str]) -> str:
    joined, marks = _SHORTCUT_INSIDE.subn("", chunk)
    return joined if marks == 1 and joined.casefold() in vocabulary else chunk


def _count_words(text: str) -> int:
    return sum(bool(_WORD.search(chunk)) for chunk in text.split())
