"""Broken files and options: one error that names the file and the line."""

import bz2
import gzip

import pytest

from app.datamodules.io.tables import TableStyle, read_rows
from app.datamodules.text_classification.reader import read_labelled_texts
from app.errors import InputError
from tests.datamodules.text_classification.test_reader import CSV, parquet, write

BROKEN = {
    "missing column": ("x.csv", "sentence,label\na,1\n", "x.csv:1: no column 'text'; it has 'sentence', 'label'"),
    "near column": ("x.csv", "texts,label\na,1\n", "did you mean 'texts'"),
    "column twice": ("x.csv", "text,text,label\na,b,1\n", "x.csv:1: the header names 'text' twice"),
    "no header": ("x.csv", "\na,1\n", "x.csv:1: is an empty line"),
    "empty file": ("x.csv", "", "x.csv: is empty"),
    "header alone": ("x.csv", "text,label\n", "x.csv: has no examples"),
    "field too many": ("x.csv", "text,label\na,1\nb,0,5\n", "x.csv:3: 3 fields where the header has 2"),
    "field too few": ("x.csv", 'text,label\n"a\nb",1\nb\n', "x.csv:4: 1 fields where the header has 2"),
    "empty line": ("x.csv", "text,label\na,1\n\nb,0\n", "x.csv:3: an empty line"),
    "open quote": ("x.csv", 'text,label\na,1\n"b,0\nc,1\n', "x.csv:3: unexpected end of data"),
    "text behind quote": ("x.csv", 'text,label\n"a"b,1\n', "x.csv:2: .* a quotation mark inside"),
    "tsv quote over lines": ("x.tsv", 'text\tlabel\n"a\t1\nb"\t0\n', "x.tsv:2: a quoted field does not end"),
    "empty label": ("x.csv", "text,label\na,\n", "x.csv:2: the label is empty"),
    "no text": ("x.csv", "text,label\n,1\n  ,1\n", "x.csv: has no examples except those without a text"),
    "bytes": ("x.csv", b"text,label\na,1\nb\xff,0\n", "x.csv:3: byte 0xff is not utf-8"),
    "cut gzip": ("x.csv.gz", gzip.compress(CSV.encode())[:-9], "x.csv.gz: cannot be unpacked as .gz"),
    "no gzip": ("x.csv.gz", CSV, "x.csv.gz: cannot be unpacked as .gz"),
    "cut bzip2": ("x.csv.bz2", bz2.compress(CSV.encode())[:-9], "x.csv.bz2: cannot be unpacked as .bz2"),
    "bad json": ("x.jsonl", '{"text": "a", "label": 1}\n{"text": \n', "x.jsonl:2: not JSON"),
    "json list": ("x.json", '[{"text": "a", "label": 1}]', "x.json:1: .* is not an object"),
    "json key": ("x.jsonl", '{"text": "a"}\n', "x.jsonl:1: no column 'label'; it has 'text'"),
    "json text": ("x.jsonl", '{"text": 5, "label": 1}\n', "x.jsonl:1: the text is 5, not a string"),
    "json null": ("x.jsonl", '{"text": "a", "label": null}\n', "x.jsonl:1: the label is empty"),
    "json float": ("x.jsonl", '{"text": "a", "label": 0.5}\n', "x.jsonl:1: the label is 0.5; allowed"),
    "json blank": ("x.jsonl", '{"text": "a", "label": 1}\n\n', "x.jsonl:2: not JSON"),
    "half a pair": ("x.jsonl", '{"text": "\\ud800", "label": 1}\n', "x.jsonl:1: the text is not valid Unicode"),
    "deep json": ("x.jsonl", "[" * 100_000, "x.jsonl:1: not JSON"),
    "no parquet": ("x.parquet", "PAR1", "x.parquet: not a valid parquet"),
    "parquet column": ("x.parquet", parquet({"text": ["a"]}), "x.parquet: no column 'label'; it has 'text'"),
    "parquet null": ("x.parquet", parquet({"text": ["a", None], "label": [1, 1]}), "x.parquet:2: the text is None"),
    "sst empty line": ("x.train", "1 a\n\n0 b\n", "x.train:2: an empty line"),
    "sst empty file": ("x.train", "", "x.train: has no examples"),
    "pos alone": ("x.pos", "a\n", "has no partner"),
    "unknown": ("x.docx", "a\n", "no text classification data; allowed: csv"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_names_file_and_line(tmp_path, case):
    name, content, message = BROKEN[case]
    write(tmp_path, {name: content})
    with pytest.raises(InputError, match=message) as caught:
        read_labelled_texts(tmp_path / name)
    assert len(str(caught.value).splitlines()) <= 2
    assert name in str(caught.value)


BARE = {
    "no such number": ("x.tsv", "a\t1\n", {}, "x.tsv: no column 'text'; without a header they are numbers, 1 to 2"),
    "field too many": ("x.csv", "a,1\nb,1,2\n", {}, "x.csv:2: 3 fields where the first line has 2 fields"),
    "empty line": ("x.tsv", "\n", {}, "x.tsv:1: is an empty line; each must be a row"),
    "empty file": ("x.tsv", "", {}, "x.tsv: is empty; each line must be a row"),
    "a quotation mark": ("x.tsv", 'a\t"b" c\n', {"quoting": "standard"}, 'x.tsv:1: .* as "", or set data.quoting none'),
    "a header that is a row": ("x.csv", "a,1\n", {"header": True}, "no column 'text'; .*set data.header false"),
}


@pytest.mark.parametrize("case", BARE)
def test_tables_without_header_and_quotation(tmp_path, case):
    name, content, settings, message = BARE[case]
    write(tmp_path, {name: content})
    column = "text" if "text" in message else "2"
    with pytest.raises(InputError, match=message):
        list(read_rows(tmp_path / name, [column], style=TableStyle(**{"header": False, "quoting": "none", **settings})))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoding": "utf-88"}, "cannot be decoded as 'utf-88'"),
        ({"encoding": "rot13"}, "cannot be decoded as 'rot13'"),
        ({"encoding": "utf-32"}, "x.csv:1: byte 0x74 is not utf-32"),
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path, options, message):
    write(tmp_path, {"x.csv": CSV})
    with pytest.raises(InputError, match=message):
        read_labelled_texts(tmp_path, **options)
