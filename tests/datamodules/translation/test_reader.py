"""Reading sentence pairs: every format, what is refused and where, and no line that loses its partner."""

import bz2
import csv
import gzip
import io
import json
import tempfile
from pathlib import Path

import polib
import pyarrow
import pyarrow.parquet
import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given
from hypothesis import strategies as st

from app.datamodules.translation.reader import ParallelTexts, is_prefix, read_parallel_texts
from app.errors import InputError

PAIRS = [("a dog", "ein Hund"), ("two, cats", "zwei Katzen")]
EN, DE = "a dog\n two, cats \n", "ein Hund\nzwei Katzen"
CODES = {"source_language": "en", "target_language": "de"}


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def read(source, **options) -> dict[str, ParallelTexts]:
    return read_parallel_texts(source, **CODES | options)


def pairs(part: ParallelTexts) -> list[tuple[str, str]]:
    return list(zip(part.sources, part.targets, strict=True))


def parquet(columns: dict[str, list]) -> bytes:
    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), stream)
    return stream.getvalue()


# Line-aligned files


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train", "val", "test_2016_flickr"], ["train", "val", "test"]),
        (["news.train", "news.dev"], ["train", "val"]),
        (["corpus.en-de"], ["all"]),
        (["valid"], ["val"]),
    ],
)
def test_pairs_of_a_folder(tmp_path, names, splits):
    for name in names:
        write(tmp_path, {f"{name}.en": EN, f"{name}.de.gz": gzip.compress(DE.encode()), f"{name}.fr": "un\n"})
    write(tmp_path, {"README.md": "about", ".train.en.swp": "x"})
    parts = read(tmp_path)
    assert list(parts) == splits
    assert all(pairs(part) == PAIRS and part.skipped == {} for part in parts.values())
    first = {split: part.where(1) for split, part in parts.items()}
    assert set(first.values()) == {f"{tmp_path}/{name}.en:2" for name in names}
    swapped = read(tmp_path, source_language="de", target_language="en")
    assert pairs(swapped[splits[0]]) == [pair[::-1] for pair in PAIRS]


def test_a_prefix_stands_for_one_pair(tmp_path):
    write(
        tmp_path, {"tst2012.en.bz2": bz2.compress(EN.encode()), "tst2012.de": DE, "tst2013.en": "x", "tst2013.de": "y"}
    )
    write(tmp_path, {"dev.en": "only"})
    assert {split: pairs(part) for split, part in read(tmp_path / "tst2012").items()} == {"all": PAIRS}
    write(tmp_path, {"dev.de": "nur"})
    assert list(read(tmp_path / "dev")) == ["val"]
    with pytest.raises(InputError, match="has the pairs dev, tst2012, tst2013, .* data.val_source .*/dev$"):
        read(tmp_path)


def test_what_is_a_prefix(tmp_path, monkeypatch):
    write(tmp_path, {"a.en.gz": b"", "b.de": b"", "c.fr": b"", "d": b"", "d.en": b""})
    found = [is_prefix(f"{tmp_path}/{name}", "en", "de") for name in ("a", "b", "c", "d", "e", "a.en", "x/a", "")]
    assert found == [True, True, False, False, False, False, False, False]
    for other in ("", ".", "/", "hub://wmt14/de-en", "pypi://a==1/b.mo", "https://example.org/a", "x" * 5000, "a\0b"):
        assert not is_prefix(other, "en", "de")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert is_prefix("~/a", "en", "de")


def test_empty_sides_are_kept_at_their_line(tmp_path):
    write(tmp_path, {"a.en": "one\n\n \nfour\n", "a.de": "\nzwei\r\n\t\nvier\n"})
    part = read(tmp_path)["all"]
    assert pairs(part) == [("one", ""), ("", "zwei"), ("", ""), ("four", "vier")]
    assert part.lines == [1, 2, 3, 4]


def test_what_unicode_calls_a_line_end_and_another_encoding(tmp_path):
    write(tmp_path, {"a.en": "a\x0bb\x0cc\x85d\u2028e\n", "a.de": "\ufeffä"})
    assert pairs(read(tmp_path)["all"]) == [("a b c d e", "ä")]
    write(tmp_path, {"a.en": "fine", "a.de": "ä".encode("cp1252")})
    assert pairs(read(tmp_path, encoding="cp1252")["all"]) == [("fine", "ä")]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"no translation data; allowed: NAME.en next to NAME.de"),
        ({"README.md": "", "a.fr": ""}, "no translation data among README.md, a.fr; allowed"),
        ({"train.en": EN}, "train.de: is missing next to train.en;"),
        ({"train.en": EN, "train.de": DE, "val.de.gz": ""}, "val.en: is missing next to val.de.gz;"),
        ({"a.en": EN, "a.en.gz": "", "a.de": DE}, "a.en: a.en.gz is next to it; remove one of them"),
        ({"a.en": EN, "a.de": DE + "\nmehr"}, "a.en: has 2 lines, and a.de has 3; line n of one"),
        ({"a.en": "a\nb\n", "a.de": b"x\n\xff\n"}, "a.de:2: byte 0xff is not utf-8"),
        ({"a.en.gz": "no gzip", "a.de": DE}, "a.en.gz: cannot be unpacked"),
        ({"a.en": "", "a.de": ""}, "a.en: has no pairs; use data that has some"),
        ({"a.en": EN, "a.de": DE, "b.en": EN, "b.de": DE}, "has the pairs a, b, not one each"),
        ({"train.en": EN, "train.de": DE, "b.en": EN, "b.de": DE}, "has the pairs b, train, not one each"),
        ({"dev.en": EN, "dev.de": DE, "val.en": EN, "val.de": DE}, "has the pairs dev, val, not one each"),
        ({"a.en": EN, "a.de": DE, "b.csv": "en,de\n"}, "a, b.csv are of different layouts"),
        ({"a.csv": "en,de\n", "b.csv": "en,de\n"}, "a.csv and b.csv are both for all"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused(tmp_path, files, message):
    with pytest.raises(InputError, match=message) as caught:
        read(write(tmp_path, files))
    assert "\n" not in str(caught.value)


def test_a_path_that_does_not_fit_is_refused(tmp_path):
    write(tmp_path, {"a.en.gz": gzip.compress(EN.encode()), "notes.txt": "x"})
    for name, message in {
        "b": "b: no such file or folder, and no b.en and b.de",
        "a": "a.de: is missing next to a.en.gz",
        "a.en.gz": "a.en.gz: is one side; use .*/a, which names both",
        "notes.txt": "notes.txt: no translation data; allowed",
    }.items():
        with pytest.raises(InputError, match=message):
            read(tmp_path / name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_language": "en"}, "source and target language are both 'en'"),
        ({"target_language": ""}, "language '' is not a code"),
        ({"source_language": "../x"}, "language '../x' is not a code"),
        ({"source_column": "x", "target_column": "x"}, "both read from column 'x'"),
        ({"source_column": "de"}, "both read from column 'de'"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        read(write(tmp_path, {"a.en": EN, "a.de": DE}), **options)


# Tables and catalogs

TABLES = {
    "data.csv": 'id,de,en\n1,ein Hund,a dog\n2, zwei Katzen ,"two, cats"\n',
    "data.tsv": "en\tde\na dog\tein Hund\ntwo, cats\tzwei Katzen\n",
    "data.jsonl": "".join(json.dumps({"en": source, "de": target}) + "\n" for source, target in PAIRS),
    "data.parquet": parquet({"en": [source for source, _ in PAIRS], "de": [target for _, target in PAIRS]}),
}
TABLES["data.csv.gz"] = gzip.compress(TABLES["data.csv"].encode())


@pytest.mark.parametrize("name", TABLES)
def test_tables(tmp_path, name):
    write(tmp_path, {name: TABLES[name]})
    first = 1 if "json" in name or "parquet" in name else 2
    for source in (tmp_path, tmp_path / name):
        part = read(source)["all"]
        assert (pairs(part), part.lines) == (PAIRS, [first, first + 1])
    assert part.where(0) == f"{tmp_path / name}:{first}"


def test_tables_by_split_with_columns_of_their_own(tmp_path):
    write(tmp_path, {"train.csv": "q,a\nx,y\n,z\n", "dev.csv": "a,q\nv,u\n"})
    parts = read(tmp_path, source_column="q", target_column="a")
    assert {split: pairs(part) for split, part in parts.items()} == {
        "train": [("x", "y"), ("", "z")],
        "val": [("u", "v")],
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "en,vi\na,b\n", "a.csv:1: no column 'de'; it has 'en', 'vi'"),
        ("a.csv", "en,de\na\n", "a.csv:2: 1 fields where the header has 2"),
        ("a.tsv", "a dog\tein Hund\n", "a.tsv:1: no column 'en'"),
        ("a.csv", "en,de\n", "a.csv: has no pairs"),
        ("a.jsonl", '{"en": "a", "de": null}\n', "a.jsonl:1: the text is None, not a string"),
        (
            "a.jsonl",
            '{"en": "a", "de": "b"}\n{"en": "\\ud800", "de": "b"}\n',
            "a.jsonl:2: the text is not valid Unicode",
        ),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message):
        read(write(tmp_path, {name: content}))


def test_catalogs(tmp_path):
    catalog = polib.POFile()
    catalog.metadata = {"Content-Type": "text/plain; charset=UTF-8", "Language": "de"}
    for source, target in [("%s items", "%s Dinge"), ("_Open file", "Datei ö_ffnen"), ("to open", "zu öffnen")]:
        catalog.append(polib.POEntry(msgid=source, msgstr=target))
    catalog.save(str(tmp_path / "app.po"))
    catalog.save_as_mofile(str(tmp_path / "app.mo"))
    part = read(tmp_path / "app.po")["all"]
    assert pairs(part) == [("Open file", "Datei öffnen"), ("to open", "zu öffnen")]
    assert (part.skipped, part.where(0)) == ({"with placeholders": 1}, f"{tmp_path}/app.po:2")
    assert sorted(pairs(read(tmp_path / "app.mo")["all"])) == pairs(part)
    with pytest.raises(InputError, match="app.mo and app.po are both for all"):
        read(tmp_path)
    del catalog[1:]
    catalog.save(str(tmp_path / "app.po"))
    with pytest.raises(InputError, match=r"app.po: has no pairs except skipped ones \(1 with placeholders\)"):
        read(tmp_path / "app.po")


# The hub


def test_hub_sets_with_a_translation_column_or_a_column_a_language():
    cells = [{"de": target, "en": f" {source}", "fr": None} for source, target in PAIRS]
    translation = DatasetDict({"validation": Dataset.from_dict({"id": [1, 2], "translation": cells})})
    parts = read(translation)
    assert {split: pairs(part) for split, part in parts.items()} == {"val": PAIRS}
    assert parts["val"].where(1) == "hub split 'val':2"
    columns = {"en": [source for source, _ in PAIRS], "de": [target for _, target in PAIRS], "translation": ["x", "y"]}
    plain = DatasetDict({"train": Dataset.from_dict(columns)})
    assert pairs(read(plain.remove_columns("translation"))["train"]) == PAIRS
    assert pairs(read(plain, target_column="translation")["train"]) == [("a dog", "x"), ("two, cats", "y")]


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"en": ["a"], "vi": ["b"]}, {}, "hub split 'train': no column 'de'; it has 'en', 'vi'"),
        ({"en": ["a"], "de": ["b"]}, {"source_column": "src"}, "hub split 'train': no column 'src'"),
        (
            {"translation": [{"en": "a", "vi": "b"}]},
            {},
            "hub split 'train':1: no 'de' in column 'translation', which has",
        ),
        ({"translation": [{"en": "a", "de": "b"}, {"de": "b"}]}, {}, "hub split 'train':2: no 'en' .* which has 'de';"),
        ({"translation": ["a b"]}, {}, "hub split 'train':1: no 'en' in column 'translation', which has no language"),
        ({"en": ["a", None], "de": ["b", "c"]}, {}, "hub split 'train':2: the text is None"),
    ],
)
def test_a_hub_set_that_does_not_fit_is_refused(columns, options, message):
    with pytest.raises(InputError, match=message):
        read(DatasetDict({"train": Dataset.from_dict(columns)}), **options)


# What was read


def test_keys_and_subsets():
    sources = ["A dog.", "x", "a DOG !", "Äpfel", "äpfel…", "?", "!", "?", "", "Straße 1", "STRASSE1"]
    part = ParallelTexts(sources, sources[::-1], ["f"] * 11, list(range(1, 12)), {"one word": 3})
    assert [part.keys.index(key) for key in part.keys] == [0, 1, 0, 3, 3, 5, 6, 5, 8, 9, 9]
    chosen = part.subset([9, 0])
    assert (len(chosen), chosen.sources, chosen.where(0)) == (2, ["Straße 1", "A dog."], "f:10")
    assert (chosen.answers, chosen.skipped) == ([sources[1], sources[10]], {"one word": 3})


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r"))


@given(rows=st.lists(st.tuples(texts, texts), min_size=1), form=st.sampled_from(["lines", "csv", "jsonl", "parquet"]))
def test_what_was_written_is_read(rows, form):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if form == "lines":
            sides = ["".join(row[side] + "\n" for row in rows) for side in (0, 1)]
            write(folder, {"a.en": "\ufeff" + sides[0], "a.de.gz": gzip.compress(("\ufeff" + sides[1]).encode())})
        elif form == "csv":
            stream = io.StringIO(newline="")
            csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([("en", "de"), *rows])
            write(folder, {"a.csv": stream.getvalue()})
        elif form == "jsonl":
            write(folder, {"a.jsonl": "".join(json.dumps({"en": a, "de": b}) + "\n" for a, b in rows)})
        else:
            write(folder, {"a.parquet": parquet({"en": [a for a, _ in rows], "de": [b for _, b in rows]})})
        part = read(folder)["all"]
    assert pairs(part) == [(" ".join(source.split()), " ".join(target.split())) for source, target in rows]
    assert part.lines == list(range(part.lines[0], part.lines[0] + len(rows)))
