"""Catalogs of gettext against Python's own reader, and line-aligned files."""

import gettext
import io
import re

from hypothesis import given
from hypothesis import strategies as st

from app.datamodules.translation.gettext_catalog import read_catalog
from app.datamodules.translation.reader import read_parallel_texts
from tests.bad_input.contents import catalog
from tests.fuzz.damage import damaged, fuzzed, outcome

PAIRS = {
    "Open the file": "Die Datei öffnen",
    "a good house": "ein gutes Haus",
    "two more words": "noch zwei Wörter",
    "the last line": "die letzte Zeile",
}
PO = "".join(f'msgid "{source}"\nmsgstr "{target}"\n\n' for source, target in PAIRS.items())


@fuzzed
@given(content=damaged(catalog(PAIRS)))
def test_messages_of_a_compiled_catalog_are_those_of_python(content, tmp_path):
    path = tmp_path / "x.mo"
    path.write_bytes(content)
    read = outcome(lambda: read_catalog(path, "en", "de"), path)
    if read is None:
        return
    try:
        messages = gettext.GNUTranslations(io.BytesIO(content))._catalog
    except Exception:  # Python's reader has no error of its own for each damage
        return
    known = set()
    for key, translation in messages.items():
        message, number = key if isinstance(key, tuple) else (key, 0)
        if number == 0:  # of plurals the singular; behind the sign there is no context any more
            known.add((plain(message.rpartition("\x04")[2]), plain(translation)))
    for _, pair in read[0]:
        if not any(re.search(r"[_&<>%{}$()\x00\x04]", text) for text in pair):  # what is taken out of a message
            sides = plain(pair[0]), plain(pair[1])
            assert sides in known or sides[::-1] in known, pair  # the other way round if it is a catalog of the source


def plain(text: str) -> str:
    """Without white space, which sentences have one of, and marks that interfaces need."""
    return re.sub(r"[\s_&]", "", text)


@fuzzed
@given(content=damaged(PO.encode()))
def test_catalogs_as_text(content, tmp_path):
    path = tmp_path / "x.po"
    path.write_bytes(content)
    read = outcome(lambda: read_catalog(path, "en", "de"), path)
    assert read is None or all(source and target for _, (source, target) in read[0])


@fuzzed
@given(data=st.data())
def test_aligned_files(data, tmp_path):
    sides = [data.draw(damaged(text.encode())) for text in ("a b\n\ncafé\nd\n", "x y\nz\nü\nw\n")]
    if data.draw(st.booleans()):
        sides[1] = sides[0]
    for language, content in zip(("en", "de"), sides, strict=True):
        (tmp_path / f"x.{language}").write_bytes(content)
    read = outcome(
        lambda: read_parallel_texts(tmp_path / "x", source_language="en", target_language="de"), tmp_path / "x."
    )
    if read is not None:
        (part,) = read.values()
        for texts, content in zip((part.sources, part.targets), sides, strict=True):
            lines = content.decode("utf-8-sig").split("\n")
            lines = lines[:-1] if lines[-1] == "" else lines
            assert list(texts) == [" ".join(line.split()) for line in lines]
