"""What predict reads of a test file is what test reads of it, to the last token: for every task and format."""

import bz2
import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from app.datamodules import ImageClassificationData, ParsingData, TextClassificationData, TranslationData
from app.datamodules.image_classification.reader import read_labelled_images
from app.datamodules.tokenizers.tokenizer import TokenizerConfig
from app.errors import InputError
from tests.stand_ins import write_images, write_treebank

# runs of spaces, other white space, both forms of an accent, capitals, and one that is longer than max_length
NASTY = [
    "a  red   dog",
    " the\u00a0tree\u2003here ",
    "cafe\u0301 caf\u00e9",
    "THE Old\x0bdog",
    "so " * 40 + "long",
    "?",
]
LABELS = ["0", "1"] * 3
BYTES = TokenizerConfig(kind="bpe", vocab_size=300)


def rows(columns):
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def csv_text(columns, delimiter):
    lines = [delimiter.join(columns), *(delimiter.join(f'"{cell}"' for cell in row.values()) for row in rows(columns))]
    return "\n".join(lines) + "\n"


def write_table(path, columns):
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows(columns)))
    else:
        path.write_text(csv_text(columns, "," if path.suffix == ".csv" else "\t"))


def same_ids(test, predicted):
    return [row.tolist() for row in test] == [row.tolist() for split in predicted for row in split]


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet", "sst", "sst.gz", "bare tsv", "lines"])
def test_texts(form, tmp_path):
    settings = {}
    if form == "bare tsv":  # no header, and quotation marks are text
        settings = {"text_column": 2, "label_column": "1", "header": False, "quoting": "none"}
        for split in ("train", "val", "test"):
            path = tmp_path / f"{split}.tsv"
            path.write_text("".join(f'{label}\t"{text}" said\n' for label, text in zip(LABELS, NASTY, strict=True)))
    elif form == "lines":
        settings = {"format": "label_text"}
        for split in ("train", "val", "test"):
            path = tmp_path / f"{split}.txt"
            path.write_text("".join(f"{label}\t{text}\n" for label, text in zip(LABELS, NASTY, strict=True)))
    elif form.startswith("sst"):
        content = "".join(f"{label} {text}\n" for label, text in zip(LABELS, NASTY, strict=True)).encode()
        for split in ("train", "dev", "test"):
            path = tmp_path / f"x.{split}{form[3:]}"
            path.write_bytes(gzip.compress(content) if form.endswith("gz") else content)
    else:
        for split in ("train", "val", "test"):
            path = tmp_path / f"{split}.{form}"
            write_table(path, {"text": NASTY, "label": LABELS})
    data = TextClassificationData(
        "x", str(tmp_path), tokenizer=BYTES, max_length=20, cache_dir=str(tmp_path / "c"), predict_source=str(path),
        **settings,
    )  # fmt: skip
    begins = ['"' if "quoting" in settings else text.strip()[0] for text in NASTY]
    assert [text[0] for text in data.texts["test"].texts] == begins
    assert same_ids(data.splits["test"].ids, (split.ids for split in data.predict_splits()))


def test_sentences_by_class_are_read_in_the_encoding_of_the_corpus(tmp_path):
    for name, lines in (("x.pos", ["tr\u00e8s  bon", "bien"]), ("x.neg", ["mal", "p\u00e9nible"])):
        for split in ("train", "dev", "test"):
            (tmp_path / f"{split}-{name}").write_bytes("\n".join(lines).encode("cp1252") + b"\n")
    ids = []
    for side in ("pos", "neg"):
        data = TextClassificationData(
            "x", str(tmp_path), tokenizer=BYTES, cache_dir=str(tmp_path / "c"),
            predict_source=str(tmp_path / f"test-x.{side}"),
        )  # fmt: skip
        ids += [split.ids for split in data.predict_splits()]
    assert same_ids(data.splits["test"].ids, ids)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "aligned", "aligned, tokenised", "bare tsv"])
def test_pairs(form, tmp_path):
    settings = {}
    for split in ("train", "val", "test"):
        if form.startswith("aligned"):
            path = tmp_path / f"{split}.en.bz2"
            path.write_bytes(bz2.compress("\n".join(NASTY).encode()))
            (tmp_path / f"{split}.de").write_text("\n".join(NASTY[::-1]))
        elif form == "bare tsv":
            settings = {"source_column": 3, "target_column": "1", "header": False, "quoting": "none"}
            path = tmp_path / f"{split}.tsv"
            path.write_text("".join(f'{text}\t1\t"{text}" said\n' for text in NASTY))
        else:
            path = tmp_path / f"{split}.{form}"
            write_table(path, {"en": NASTY, "de": NASTY[::-1]})
    data = TranslationData(
        "x", str(tmp_path), "en", "de", tokenizer=BYTES, max_length=20, max_ratio=99, detokenize="tokenised" in form,
        cache_dir=str(tmp_path / "c"), predict_source=str(path), **settings,
    )  # fmt: skip
    (predicted,) = data.predict_splits()
    assert predicted.source.texts == data.splits["test"].source.texts
    assert same_ids(data.splits["test"].source.ids, [predicted.source.ids])


def test_trees(tmp_path):
    for split in ("train", "dev", "test"):
        write_treebank(tmp_path / f"{split}.conllu", 12)
    data = ParsingData(
        "x", str(tmp_path), tokenizer=BYTES, tags="upos", characters=True, cache_dir=str(tmp_path / "c"),
        predict_source=str(tmp_path / "test.conllu"),
    )  # fmt: skip
    (predicted,) = data.predict_splits()
    for one, other in zip(data.splits["test"].encoded, predicted.encoded, strict=True):
        for known in ("words", "tags", "characters"):
            np.testing.assert_array_equal(getattr(one, known), getattr(other, known))
        np.testing.assert_array_equal(one.subwords.ids, other.subwords.ids)


@pytest.mark.parametrize("form", ["idx", "csv", "csv with a header", "npz", "pictures"])
def test_images(form, tmp_path):
    write_images(tmp_path)
    test, settings = tmp_path / "t10k-images-idx3-ubyte.gz", {}
    if form != "idx":
        images = read_labelled_images(tmp_path)
        (tmp_path / "x").mkdir()
    if form == "npz":
        for split, read in images.items():
            np.savez(test := tmp_path / f"x/{split}.npz", images=read.pixels, labels=read.labels)
    elif form == "pictures":
        for split, read in images.items():
            for n, (pixels, label) in enumerate(zip(read.pixels, read.labels, strict=True)):
                (tmp_path / "x" / split / label).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(tmp_path / "x" / split / label / f"{n}.png")
        test = tmp_path / "x/test"
    elif form.startswith("csv"):
        header = ["pixels," * 784 + "label"] if "header" in form else []
        settings = {"header": True} if header else {}
        for split, read in images.items():
            rows = [",".join(map(str, [*p.ravel(), label])) for p, label in zip(read.pixels, read.labels, strict=True)]
            (test := tmp_path / f"x/{split}.csv").write_text("\n".join([*header, *rows]))
    source = tmp_path if form == "idx" else tmp_path / "x"
    data = ImageClassificationData(
        "x", str(source), cache_dir=str(tmp_path / "c"), predict_source=str(test), **settings
    )
    (predicted,) = data.predict_splits()
    assert len(predicted.pixels) == 20
    np.testing.assert_array_equal(predicted.pixels, data.splits["test"].pixels)


@pytest.mark.parametrize("label", ["1 ", ""])
def test_empty_texts_are_skipped_in_a_corpus_and_keep_their_place_in_predict(label, tmp_path, caplog):
    caplog.set_level("INFO")
    names = ("train", "dev", "test") if label else ("pos", "neg")
    for name in names:
        lines = [f"{label}{name} {n}" for n in range(20)]
        (tmp_path / f"x.{name}").write_text("\n".join([*lines, label, "0 last\n"]))
    data = TextClassificationData("x", str(tmp_path), predict_source=str(tmp_path / f"x.{names[-1]}"))
    data.labels = ("0", "1")
    assert sum(map(len, data.texts.values())) == (63 if label else 41)  # the last text once where nothing is split
    assert f"skipped {len(names)} without a text" in caplog.text
    (split,) = data.predict_splits()
    assert len(split.texts) == 22 and split.texts[19:] == [f"{names[-1]} 19", "", "last" if label else "0 last"]


def test_the_encoding_of_a_corpus_is_not_that_of_what_predict_reads(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"text,label\n" + b"".join(b"o\xf9 %d,%d\n" % (n, n % 2) for n in range(30)))
    for encoding in ("utf-8", "cp1252"):
        (tmp_path / "in.txt").write_bytes("o\u00f9\n".encode(encoding))
        data = TextClassificationData(
            "x", str(tmp_path / "x.csv"), encoding="cp1252", tokenizer=BYTES, cache_dir=str(tmp_path / "c"),
            predict_source=str(tmp_path / "in.txt"), **({} if encoding == "utf-8" else {"predict_encoding": encoding}),
        )  # fmt: skip
        (split,) = data.predict_splits()
        assert split.texts == ["o\u00f9"]


def test_what_would_be_read_otherwise_is_refused(tmp_path):
    for split in ("train", "dev", "test"):
        (tmp_path / f"x.{split}").write_text("0 bad\n1 good\n" if split != "test" else "0 bad\na film\n")
    data = TextClassificationData("x", str(tmp_path), predict_source=str(tmp_path / "x.test"))
    data.labels = ("0", "1")
    data.tokenizer = None
    with pytest.raises(InputError, match=r"x.test:2: 'a' is not a label \(0, 1\) before a text; rename a file"):
        list(data.predict_splits())
    with pytest.raises(InputError, match="x.po: is a gettext catalog; write its messages"):
        TranslationData("x", "y", "en", "de", predict_source="x.po").predict_splits()
