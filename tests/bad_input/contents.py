"""Files of the table: text as it is, or what makes bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import struct
import zipfile
from typing import Any

PACKERS = {"gzip": gzip.compress, "bzip2": bz2.compress}


def content(wanted: str | dict[str, Any]) -> bytes:
    """The bytes of a file.

    Args:
        wanted: a text, written as utf-8; or a mapping with one of text, latin-1, utf-16 (a text in that encoding),
            gzip, bzip2 (a text, packed), zip (name -> text), idx (sizes of an array of bytes) and mo (message ->
            translation, beside it their language). Beside it `packed` may name a packer, and `cut` how many bytes are
            missing at the end.
    """
    if isinstance(wanted, str):
        return wanted.encode()
    wanted = dict(wanted)
    cut, packed, language = wanted.pop("cut", 0), wanted.pop("packed", None), wanted.pop("language", "")
    ((kind, value),) = wanted.items()
    if kind == "zip":
        data = zipped(value)
    elif kind == "idx":
        data = idx(value)
    elif kind == "mo":
        data = catalog(value, language)
    elif kind in PACKERS:
        data = PACKERS[kind](value.encode())
    else:
        data = value.encode("utf-8" if kind == "text" else kind)
    data = PACKERS[packed](data) if packed else data
    return data[: len(data) - cut]


def zipped(members: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return stream.getvalue()


def idx(sizes: list[int]) -> bytes:
    count = 1
    for size in sizes:
        count *= size
    header = bytes([0, 0, 8, len(sizes)]) + b"".join(struct.pack(">I", size) for size in sizes)
    values = 2 if len(sizes) == 1 else 251  # two classes, and images that differ
    return header + bytes(number % values for number in range(count))


def catalog(pairs: dict[str, str], language: str = "de") -> bytes:
    import polib

    file = polib.POFile()
    file.metadata = {"Content-Type": "text/plain; charset=UTF-8", "Language": language}
    for message, translation in pairs.items():
        file.append(polib.POEntry(msgid=message, msgstr=translation))
    return bytes(file.to_binary())
