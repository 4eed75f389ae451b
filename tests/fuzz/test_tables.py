"""csv, tsv, jsonl and parquet, whole or packed, against the csv and json modules."""

import bz2
import csv
import gzip
import io
import json

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.datamodules.io.files import read_bytes
from app.datamodules.io.tables import read_rows
from app.datamodules.io.texts import texts_to_predict
from app.datamodules.text_classification.reader import read_labelled_texts
from tests.fuzz.damage import damaged, fuzzed, outcome

CSV = 'label,text,more\nx,a good film,1\ny,"a ""bad"" one, with a comma",2\nx,"two\nlines",3\ny,café\t,4\n'.encode()
TSV = 'label\ttext\nx\ta good film\ny\t"bad"\nx\tcafé\n'.encode()
JSONL = b"""\
{"label": "x", "text": "a good film"}
{"text": "caf\\u00e9", "label": 3}
{"label": true, "text": "bad", "n": [1]}
"""
WANTED = ["text", "label"]


def parquet() -> bytes:
    stream = io.BytesIO()
    table = pyarrow.table({"text": ["a good film", "bad", "café"], "label": ["x", "y", "x"]})
    pyarrow.parquet.write_table(table, stream, compression="none")
    return stream.getvalue()


def text_of(data: bytes) -> str:
    return data.decode("utf-8-sig")


def rows_by_csv(data: bytes, delimiter: str) -> list[list[str]]:
    header, *rows = csv.reader(io.StringIO(text_of(data), newline=""), delimiter=delimiter, strict=True)
    places = [[name.strip() for name in header].index(column) for column in WANTED]
    return [[row[place] for place in places] for row in rows]


def rows_by_json(data: bytes) -> list[list[object]]:
    lines = text_of(data).split("\n")
    records = map(json.loads, lines[:-1] if lines[-1] == "" else lines)
    return [[record[column] for column in WANTED] for record in records]


@pytest.mark.parametrize(
    ("name", "whole", "reference"),
    [
        ("x.csv", CSV, lambda data: rows_by_csv(data, ",")),
        ("x.tsv", TSV, lambda data: rows_by_csv(data, "\t")),
        ("x.jsonl", JSONL, rows_by_json),
    ],
)
@fuzzed
@given(data=st.data())
def test_rows_are_those_of_python_s_modules(name, whole, reference, data, tmp_path):
    content = data.draw(damaged(whole))
    path = tmp_path / name
    path.write_bytes(content)
    read = outcome(lambda: list(read_rows(path, WANTED)), path)
    if read is not None:
        assert repr([values for _, values in read]) == repr(reference(content))  # nan is nan
        assert all(1 <= line <= content.count(b"\n") + 1 for line, _ in read)
    parts = outcome(lambda: read_labelled_texts(path), path)
    if parts is not None:
        (part,) = parts.values()
        assert all(map(str.strip, [*part.texts, *part.labels])) and part.lines == sorted(set(part.lines))
    outcome(lambda: list(texts_to_predict(str(path), "text", chunk_size=2)), path)


@fuzzed
@given(content=damaged(parquet()))
def test_parquet(content, tmp_path):
    path = tmp_path / "x.parquet"
    path.write_bytes(content)
    read = outcome(lambda: read_labelled_texts(path), path)
    if read is not None:
        (part,) = read.values()
        assert part.texts == [text.strip() for text in pyarrow.parquet.read_table(path)["text"].to_pylist()]


@pytest.mark.parametrize("suffix", ["train", "pos"])
@fuzzed
@given(content=damaged("0 a bad film\n1 a good one\n0 café\n1 well\n".encode()))
def test_lines_with_a_label(suffix, content, tmp_path):
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(content)
    (tmp_path / "x.neg").write_text("bad\n") if suffix == "pos" else None
    read = outcome(lambda: read_labelled_texts(tmp_path if suffix == "pos" else path), path)
    if read is not None:
        (part,) = read.values()
        assert all(text == text.strip() and text for text in part.texts)


@pytest.mark.parametrize(
    ("suffix", "pack", "unpack"), [(".gz", gzip.compress, gzip.decompress), (".bz2", bz2.compress, bz2.decompress)]
)
@fuzzed
@given(data=st.data())
def test_what_unpacks_is_what_was_packed(suffix, pack, unpack, data, tmp_path):
    content = data.draw(damaged(pack(CSV)))
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    read = outcome(lambda: read_bytes(path), path)
    if read is not None:
        assert read == unpack(content)
