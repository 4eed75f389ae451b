"""Sentence pairs out of gettext catalogs: what is kept, how it is cleaned, and what is counted instead."""

import gzip
import struct
from pathlib import Path

import polib
import pytest

from app.datamodules.translation.gettext_catalog import read_catalog
from app.errors import InputError


def catalog(entries: list[polib.POEntry], language: str = "de") -> polib.POFile:
    file = polib.POFile()
    file.metadata = {"Content-Type": "text/plain; charset=UTF-8", "Language": language}
    file.extend(entries)
    return file


def entry(source: str, target: str, **options) -> polib.POEntry:
    return polib.POEntry(msgid=source, msgstr=target, **options)


def read_pairs(folder: Path, pairs: dict[str, str]) -> tuple[list[tuple[str, str]], dict[str, int]]:
    catalog([entry(source, target) for source, target in pairs.items()]).save(str(folder / "x.po"))
    read, dropped = read_catalog(folder / "x.po", "en", "de")
    return [pair for _, pair in read], dict(dropped)


ENTRIES = [
    entry("Open the file", "Die Datei öffnen"),
    entry("A fuzzy one", "Eine unscharfe", flags=["fuzzy"]),
    entry("Not done yet", ""),
    entry("%d of these", "%d davon"),
    entry("a dog", "", msgid_plural="dogs", msgstr_plural={0: "ein Hund", 1: "Hunde"}),
    entry("in a context", "im Zusammenhang", msgctxt="menu"),
    entry("same here", "same here"),
    entry("Edit event", "Ereignisbearbeitung"),
    entry("_Open the file", "Die Datei _öffnen"),
    entry("An old one", "Eine alte", obsolete=True),
]
PAIRS = [("Open the file", "Die Datei öffnen"), ("a dog", "ein Hund"), ("in a context", "im Zusammenhang")]


def test_po_and_mo_hold_the_same_pairs(tmp_path):
    file = catalog(ENTRIES)
    file.save(str(tmp_path / "x.po"))
    file.save_as_mofile(str(tmp_path / "x.mo"))
    (tmp_path / "y.mo.gz").write_bytes(gzip.compress((tmp_path / "x.mo").read_bytes()))
    pairs, dropped = read_catalog(tmp_path / "x.po", "en", "de")
    assert pairs == [(1, PAIRS[0]), (5, PAIRS[1]), (6, PAIRS[2])]
    common = {"with placeholders": 1, "source equals target": 1, "one word": 1, "repeated": 1}
    assert dropped == common | {"fuzzy": 1, "untranslated": 1, "obsolete": 1}
    for name in ("x.mo", "y.mo.gz"):  # msgfmt leaves the others out, and sorts
        pairs, dropped = read_catalog(tmp_path / name, "en", "de")
        assert sorted(pair for _, pair in pairs) == PAIRS
        assert dropped == common
        compiled = polib.mofile(str(tmp_path / "x.mo"))
        assert [compiled[number - 1].msgid.lstrip("_") for number, _ in pairs] == [source for _, (source, _) in pairs]


def test_the_header_says_the_language_of_the_translations(tmp_path):
    for language, codes, is_swapped in [
        ("de", ("en", "de"), False),
        ("de_AT", ("en", "de"), False),
        ("", ("en", "de"), False),
        ("de", ("de", "en"), True),
    ]:
        catalog(ENTRIES[:1], language).save(str(tmp_path / "x.po"))
        assert read_catalog(tmp_path / "x.po", *codes)[0] == [(1, PAIRS[0][::-1] if is_swapped else PAIRS[0])]
    with pytest.raises(InputError, match="its header says Language: de, which is neither en nor vi"):
        read_catalog(tmp_path / "x.po", "en", "vi")


CLEANED = {
    "_File and E_xit": "File and Exit",
    "Exit the program": "Exit the program",
    "&File and E&xit": "File and Exit",
    "Open 文件(_F)": "Open 文件",
    "AT&T is B&W & more": "AT&T is B&W & more",
    "R&amp;D &lt;3 &#8217;tis": "R&D <3 ’tis",
    "<b>Bold</b>, <span size='1'>small</span><br/>new\n  line </ B>": "Bold, small new line",
    "People with <count> of <N>": "People with <count> of <N>",
    "Centre <-> left, a < b > c": "Centre <-> left, a < b > c",
    "Fill ______ in": "Fill ______ in",
    "100 % of it, or $ 5": "100 % of it, or $ 5",
}


def test_what_only_an_interface_needs_is_taken_out(tmp_path):
    pairs, dropped = read_pairs(tmp_path, {source: f"Das ist {number}" for number, source in enumerate(CLEANED)})
    assert [source for source, _ in pairs] == list(CLEANED.values())
    assert dropped == {}
    pairs, _ = read_pairs(tmp_path, {f"this is {number}": target for number, target in enumerate(CLEANED)})
    assert [target for _, target in pairs] == list(CLEANED.values())


@pytest.mark.parametrize(
    "text",
    [
        "%s is",
        "is %(name)s",
        "%-5.2f is",
        "%1$s is",
        "on %Y",
        "100%% it",
        "is %1",
        "{} is",
        "is {a_b:d}",
        "$1 is",
        "${a}",
    ],
)
def test_placeholders_on_either_side_are_counted(tmp_path, text):
    pairs, dropped = read_pairs(tmp_path, {f"it {text}": "ist es", "it is": f"ist {text}", "good one": "gut so"})
    assert (pairs, dropped) == ([("good one", "gut so")], {"with placeholders": 2})


def test_an_underscore_of_unclear_meaning_is_counted(tmp_path):
    entries = {"the FAMILY_TREE": "der Baum", "Ma_ximum age": "das Alter", "my_own_name it": "mein Name", "a b": "c d"}
    assert read_pairs(tmp_path, entries) == ([("a b", "c d")], {"underscore inside a word": 3})
    pairs, dropped = read_pairs(tmp_path, entries | {"a maximum": "ein Maximum"})
    assert pairs == [("Maximum age", "das Alter"), ("a b", "c d"), ("a maximum", "ein Maximum")]
    assert dropped == {"underscore inside a word": 2}


def test_a_po_file_in_another_encoding(tmp_path):
    text = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=%s\\n"\n\nmsgid "the street"\nmsgstr "die Straße"\n'
    (tmp_path / "x.po").write_bytes((text % "ISO-8859-1").encode("latin-1"))
    assert read_catalog(tmp_path / "x.po", "en", "de")[0] == [(1, ("the street", "die Straße"))]
    (tmp_path / "x.po").write_bytes((text % "UTF-8").encode("latin-1"))
    with pytest.raises(InputError, match="x.po:5: byte 0xdf is not UTF-8"):
        read_catalog(tmp_path / "x.po", "en", "de")
    assert read_catalog(tmp_path / "x.po", "en", "de", "latin-1")[0] == [(1, ("the street", "die Straße"))]


def compiled(folder: Path) -> bytes:
    catalog(ENTRIES).save_as_mofile(str(folder / "whole.mo"))
    return (folder / "whole.mo").read_bytes()


def test_a_broken_catalog_is_refused(tmp_path):
    whole = compiled(tmp_path)
    for name, content, message in [
        ("a.mo", b"", r"a.mo: is not a gettext catalog \(it begins with b''\)"),
        ("a.mo", b"<html>not found</html>", r"a.mo: is not a gettext catalog \(it begins with b'<htm'\)"),
        ("a.mo", whole[:10], "a.mo: is truncated: its tables are beyond 10 bytes"),
        ("a.mo", whole[:60], "a.mo: is truncated"),
        ("a.mo", whole[:-9], f"a.mo: is truncated: a text is beyond its {len(whole) - 9} bytes"),
        ("a.mo", whole.replace(b"im Z", b"im \xff"), "a.mo: not a valid gettext catalog .*can't decode byte 0xff"),
        ("a.mo", whole[:4] + struct.pack("<I", 7 << 16) + whole[8:], "a.mo: not a valid gettext catalog .*revision"),
        ("a.po", b"<html>not found</html>", "a.po:1: not a valid gettext catalog"),
        ("a.po", b'msgid "a b"\nmsgstr "c "d"\n', "a.po:2: not a valid gettext catalog .*unescaped double quote"),
        ("a.po", whole, "a.po:1: "),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message) as caught:
            read_catalog(tmp_path / name, "en", "de")
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="missing.mo: cannot be read"):
        read_catalog(tmp_path / "missing.mo", "en", "de")
