"""Reading sentences with a class each: every format, what is refused and where, and nothing lost in between."""

import bz2
import csv
import gzip
import io
import json
import sys
import tempfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.datamodules.io.texts import texts_to_predict
from app.datamodules.text_classification.reader import LabelledTexts, read_labelled_texts
from app.errors import InputError

PAIRS = [("a joy", "pos"), ("a bore", "neg")]


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def pairs(part: LabelledTexts) -> list[tuple[str, str]]:
    return list(zip(part.texts, part.labels, strict=True))


def parquet(columns: dict[str, list]) -> bytes:
    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), stream)
    return stream.getvalue()


CSV = "text,label\na joy,pos\na bore,neg\n"
FORMATS = {
    "data.csv": CSV,
    "DATA.CSV": CSV,
    "data.tsv": CSV.replace(",", "\t"),
    "data.jsonl": '{"text": "a joy", "label": "pos"}\n{"label": "neg", "text": "a bore"}\n',
    "data.json": '{"text": "a joy", "label": "pos"}\n{"label": "neg", "text": "a bore"}',
    "data.parquet": parquet({"text": ["a joy", "a bore"], "label": ["pos", "neg"], "other": [1, 2]}),
    "data.csv.gz": gzip.compress(CSV.encode()),
    "data.csv.bz2": bz2.compress(CSV.encode()),
    "bom.csv": b"\xef\xbb\xbf" + CSV.encode(),
    "crlf.csv": CSV.replace("\n", "\r\n"),
    "spaces.csv": "text , label\n  a joy ,pos \na bore, neg\n",
    "quoted.csv": '"text","label"\n"a joy","pos"\n"a bore",neg',
}


@pytest.mark.parametrize("name", FORMATS)
def test_one_file_in_each_format(tmp_path, name):
    write(tmp_path, {name: FORMATS[name]})
    for source in (tmp_path, tmp_path / name):
        read = read_labelled_texts(source)
        assert list(read) == ["all"]
        assert pairs(read["all"]) == PAIRS
    first_row = 1 if data_has_no_header(name) else 2
    assert [read["all"].where(index) for index in (0, 1)] == [f"{tmp_path / name}:{first_row + i}" for i in (0, 1)]


def data_has_no_header(name: str) -> bool:
    return "json" in name or "parquet" in name


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train.csv", "dev.csv", "test.csv"], ["train", "val", "test"]),
        (["test.csv", "rt_validation.csv", "rt.train.csv"], ["train", "val", "test"]),
        (["Valid.csv", "train-00000-of-00001.csv"], ["train", "val"]),
        (["val.csv"], ["val"]),
        (["contest.csv"], ["all"]),
        ([".train.csv.swp", "README.md", "train.csv"], ["train"]),
    ],
)
def test_names_of_files_tell_the_split(tmp_path, names, splits):
    read = read_labelled_texts(write(tmp_path, dict.fromkeys(names, CSV)))
    assert list(read) == splits
    assert all(pairs(part) == PAIRS for part in read.values())


def test_columns_encoding_and_numbers(tmp_path):
    write(tmp_path, {"data.csv": "id,stars,review\n1,5,très bien\n2,0,nul\n".encode("cp1252")})
    options = {"text_column": "review", "label_column": "stars", "encoding": "cp1252"}
    assert pairs(read_labelled_texts(tmp_path, **options)["all"]) == [("très bien", "5"), ("nul", "0")]
    write(tmp_path / "..", {"data.parquet": parquet({"text": ["x", "y"], "label": [3, -1]})})
    assert read_labelled_texts(tmp_path / ".." / "data.parquet")["all"].labels == ["3", "-1"]
    write(tmp_path / "..", {"data.jsonl": '{"text": "x", "label": true}\n{"text": "y", "label": 7}'})
    assert read_labelled_texts(tmp_path / ".." / "data.jsonl")["all"].labels == ["true", "7"]


def test_sst_lines(tmp_path):
    write(tmp_path, {"stsa.fine.train": "4 a joy .\n0 a bore .\n", "stsa.fine.dev": "2 so so\n", "x.test": "1 meh\r\n"})
    read = read_labelled_texts(tmp_path)
    assert {split: pairs(part) for split, part in read.items()} == {
        "train": [("a joy .", "4"), ("a bore .", "0")],
        "val": [("so so", "2")],
        "test": [("meh", "1")],
    }
    assert read["train"].where(1) == f"{tmp_path}/stsa.fine.train:2"


def test_polarity_files_are_utf8_or_else_cp1252(tmp_path):
    write(tmp_path, {"rt.neg": "cliché\x85 a bore".encode("latin-1"), "rt.pos": "señor \x85 a joy\n"})
    read = read_labelled_texts(tmp_path)["all"]
    assert pairs(read) == [("señor \x85 a joy", "pos"), ("cliché… a bore", "neg")]
    assert [read.where(0), read.where(1)] == [f"{tmp_path}/rt.pos:1", f"{tmp_path}/rt.neg:1"]
    assert read_labelled_texts(tmp_path, encoding="latin-1")["all"].texts[1] == "cliché\x85 a bore"
    with pytest.raises(InputError, match="rt.neg:1: byte 0xe9 is not utf-8"):
        read_labelled_texts(tmp_path, encoding="utf-8")


def test_polarity_files_may_name_splits(tmp_path):
    names = [f"{split}.{label}" for split in ("train", "dev") for label in ("pos", "neg")]
    read = read_labelled_texts(write(tmp_path, {name: name for name in names}))
    assert {split: pairs(part) for split, part in read.items()} == {
        "train": [("train.pos", "pos"), ("train.neg", "neg")],
        "val": [("dev.pos", "pos"), ("dev.neg", "neg")],
    }


def test_what_unicode_calls_a_line_end_stays_inside_a_sentence(tmp_path):
    sentence = "a\x0bb\x0cc\x1cd\x85e\u2028f"
    write(tmp_path, {"x.train": f"1 {sentence}\n0 z", "y.csv": f"text,label\n{sentence},1\nz,0\n"})
    for name in ("x.train", "y.csv"):
        (part,) = read_labelled_texts(tmp_path / name).values()
        assert part.texts == [sentence, "z"]
        assert part.lines[1] - part.lines[0] == 1


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no text classification data"),
        (["README.md"], "no text classification data among README.md"),
        (["train.csv", "train.tsv"], "train.csv and train.tsv are both for train"),
        (["dev.csv", "valid.csv"], "dev.csv and valid.csv are both for val"),
        (["a.csv", "b.csv"], "a.csv and b.csv are both for all"),
        (["train.csv", "b.csv"], "b.csv names no split"),
        (["train_test.csv"], "the name says test and train"),
        (["a.csv", "x.train"], "a.csv, x.train are of different layouts"),
        (["a.pos", "b.pos", "a.neg"], "a.pos and b.pos are both for all"),
        (["train.pos", "dev.neg"], "has no partner"),
    ],
)
def test_an_ambiguous_folder_is_refused(tmp_path, names, message):
    with pytest.raises(InputError, match=message):
        read_labelled_texts(write(tmp_path, dict.fromkeys(names, CSV)))


def test_ignored_labels_are_counted_and_may_lack_a_text(tmp_path):
    write(tmp_path, {"x.csv": "text,label\na,fresh\n,plot\nb,rotten\nc,plot\n"})
    read = read_labelled_texts(tmp_path, ignore_labels=["plot"])["all"]
    assert pairs(read) == [("a", "fresh"), ("b", "rotten")]
    assert read.lines == [2, 4]
    assert read.skipped == {"labelled plot": 2}
    write(tmp_path, {"x.csv": "text,label\na,fresh\nb,rotten\n"})  # a source without them needs no other options
    assert read_labelled_texts(tmp_path, ignore_labels=["plot"])["all"].skipped == {}
    with pytest.raises(InputError, match="no examples except those labelled fresh, labelled rotten, which are skipped"):
        read_labelled_texts(tmp_path, ignore_labels=["plot", "fresh", "rotten"])


def test_subsets_and_repetitions_remember_their_lines():
    part = LabelledTexts(["a", "b", "a", "c"], ["0", "1", "1", "1"], ["f"] * 2 + ["g"] * 2, [1, 2, 1, 2], {"plot": 3})
    chosen = part.subset([3, 0])
    assert (pairs(chosen), [chosen.where(0), chosen.where(1)]) == ([("c", "1"), ("a", "0")], ["g:2", "f:1"])
    once = part.without_repetitions()
    assert pairs(once) == [("a", "0"), ("b", "1"), ("c", "1")]
    assert once.skipped == {"plot": 3}
    assert part.contradictions == [2]


# Properties

cells = st.text(st.characters(exclude_categories=["Cs"])).filter(str.strip)


@given(rows=st.lists(st.tuples(cells, cells), min_size=1), suffix=st.sampled_from([".csv", ".jsonl", ".parquet"]))
def test_what_was_written_is_read(rows, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"data{suffix}"
        if suffix == ".csv":
            stream = io.StringIO(newline="")
            csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *rows])
            path.write_bytes(stream.getvalue().encode())
        elif suffix == ".jsonl":
            path.write_text("".join(json.dumps({"label": label, "text": text}) + "\n" for text, label in rows))
        else:
            path.write_bytes(parquet({"text": [text for text, _ in rows], "label": [label for _, label in rows]}))
        part = read_labelled_texts(path)["all"]
    assert pairs(part) == [(text.strip(), label.strip()) for text, label in rows]
    assert all(earlier < later for earlier, later in zip(part.lines, part.lines[1:], strict=False))


# Texts to predict


def all_texts(source, text_column="text"):
    return [text for piece in texts_to_predict(str(source), text_column, chunk_size=2) for text in piece]


def test_plain_lines_keep_their_number_and_order(tmp_path, monkeypatch):
    content = "a joy\n\n a bore \r\nlast\x85one"
    write(tmp_path, {"in.txt": content, "in.txt.gz": gzip.compress(content.encode())})
    expected = ["a joy", "", "a bore", "last\x85one"]
    assert all_texts(tmp_path / "in.txt") == all_texts(tmp_path / "in.txt.gz") == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    assert all_texts("-") == expected


def test_a_text_column_keeps_empty_cells(tmp_path):
    write(tmp_path, {"in.csv": "id,text\n1,a joy\n2,\n", "in.jsonl": '{"text": "a joy"}\n{"text": ""}\n'})
    write(tmp_path, {"in.parquet": parquet({"text": ["a joy", ""]})})
    for name in ("in.csv", "in.jsonl", "in.parquet"):
        assert all_texts(tmp_path / name) == ["a joy", ""]
    write(tmp_path, {"other.tsv": "id\tsentence\n1\ta joy\n"})
    assert all_texts(tmp_path / "other.tsv", "sentence") == ["a joy"]


def test_texts_that_cannot_be_read_are_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="missing.txt: cannot be read"):
        all_texts(tmp_path / "missing.txt")
    with pytest.raises(InputError, match="is a folder; use the path of a file"):
        all_texts(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\nb\xff\n")))
    with pytest.raises(InputError, match="standard input:2: byte 0xff"):
        all_texts("-")
    write(tmp_path, {"in.jsonl": '{"text": null}\n'})
    with pytest.raises(InputError, match="in.jsonl:1: the text is None"):
        all_texts(tmp_path / "in.jsonl")
    write(tmp_path, {"in.txt": ""})
    with pytest.raises(InputError, match="in.txt: has nothing to predict for"):
        all_texts(tmp_path / "in.txt")
