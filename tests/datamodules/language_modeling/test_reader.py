"""Files of bytes: plain, packed, broken; parts in the order of the file, each with the byte before it."""

import bz2
import gzip
import hashlib
import pickle
import platform
import zipfile

import numpy as np
import pytest

from app.datamodules.language_modeling.reader import NEWLINE, ByteRange, open_bytes, read_byte_splits
from app.errors import InputError

CONTENT = bytes(range(256)) * 8 + b"the end"
FRACTIONS = {"val": 0.05, "test": 0.05}


def write(path, content=CONTENT):
    """CONTENT in the form that the path's ending says."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("../../outside", content)  # a name that is not to be trusted
    else:
        pack = {".gz": gzip.compress, ".bz2": bz2.compress}.get(path.suffix.lower(), bytes)
        path.write_bytes(pack(content))
    return path


def text(part):
    return part.data.tobytes()


@pytest.mark.parametrize("name", ["raw", "raw.gz", "raw.BZ2", "raw.zip"])
def test_content_is_mapped_read_only_and_unpacked_once(tmp_path, name):
    path, cache = write(tmp_path / name), tmp_path / "cache"
    mapped = open_bytes(path, cache).data
    assert isinstance(mapped, np.memmap) and not mapped.flags.writeable and mapped.tobytes() == CONTENT
    kept = [file.name for file in cache.rglob("*.bin")]
    packed = name != "raw"
    assert kept == ([f"{hashlib.sha256(path.read_bytes()).hexdigest()}.bin"] if packed else [])
    assert not (tmp_path.parent / "outside").exists() and not (tmp_path / "outside").exists()
    if packed:
        (cache / "bytes" / kept[0]).write_bytes(b"as kept")
        assert text(open_bytes(path, cache)) == b"as kept"
        other = write(tmp_path / f"other{path.suffix}", b"another")
        assert text(open_bytes(other, cache)) == b"another"


def _several(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "1")
        archive.writestr("b", "2")


def _with_wrong_sum(path):
    with zipfile.ZipFile(path, "w") as archive:  # stored as it is
        archive.writestr("a", CONTENT)
    path.write_bytes(path.read_bytes().replace(b"the end", b"the eng"))


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("folder", lambda path: path.mkdir(), "is a folder; use one file"),
        ("missing", lambda path: None, "is not a file"),
        ("empty", lambda path: path.write_bytes(b""), "is empty"),
        ("empty.gz", lambda path: write(path, b""), "is empty"),
        (
            "cut.gz",
            lambda path: path.write_bytes(gzip.compress(CONTENT)[:-9]),
            r"cannot be unpacked as \.gz.*cut short",
        ),
        ("cut.bz2", lambda path: path.write_bytes(bz2.compress(CONTENT)[:-9]), r"cannot be unpacked as \.bz2"),
        ("text.bz2", lambda path: path.write_bytes(b"text"), r"cannot be unpacked as \.bz2"),
        ("text.zip", lambda path: path.write_bytes(b"text"), r"cannot be unpacked as \.zip"),
        ("cut.zip", lambda path: path.write_bytes(write(path).read_bytes()[:-9]), r"cannot be unpacked as \.zip"),
        ("wrong.zip", _with_wrong_sum, r"cannot be unpacked as \.zip .*CRC-32"),
        ("two.zip", _several, "has 2 files; use a zip of one file"),
    ],
)
def test_what_cannot_be_opened_is_said_in_one_line_and_leaves_nothing(tmp_path, name, make, words):
    path = tmp_path / name
    make(path)
    with pytest.raises(InputError, match=words) as caught:
        open_bytes(path, tmp_path / "cache")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.suffix in (".bin", ".part")]


def test_a_cache_that_cannot_be_written_is_no_fault_of_the_packed_file(tmp_path):
    (tmp_path / "cache").write_bytes(b"a file where a folder must be")
    with pytest.raises(InputError, match=r"cache/bytes/.*\.bin: cannot be written"):
        open_bytes(write(tmp_path / "raw.gz"), tmp_path / "cache")


@pytest.mark.parametrize("size", [20, 99, 1000, 2055])
def test_one_file_is_cut_in_its_order(tmp_path, size):
    parts = read_byte_splits(
        str(write(tmp_path / "raw", CONTENT[:size])), tmp_path, own_sources={}, fractions=FRACTIONS
    )
    assert list(parts) == ["train", "val", "test"]
    assert b"".join(map(text, parts.values())) == CONTENT[:size]
    assert len(parts["val"]) == len(parts["test"]) == round(0.05 * size)
    assert parts["train"].before == NEWLINE
    assert parts["val"].before == text(parts["train"])[-1] and parts["test"].before == text(parts["val"])[-1]
    assert all(isinstance(part.data, np.memmap) and not part.data.flags.owndata for part in parts.values())


def test_named_files_are_the_parts_and_what_is_missing_is_cut_from_training(tmp_path):
    for name, content in (("wiki.train.raw", b"a" * 90 + b"bcde"), ("wiki.dev.raw.gz", b"dev"), ("x.test", b"test")):
        write(tmp_path / name, content)
    parts = read_byte_splits(str(tmp_path), tmp_path / "cache", own_sources={}, fractions=FRACTIONS)
    assert {name: (len(part), part.before) for name, part in parts.items()} == {
        "train": (94, NEWLINE), "val": (3, NEWLINE), "test": (4, NEWLINE)
    }  # fmt: skip
    (tmp_path / "wiki.dev.raw.gz").unlink()
    parts = read_byte_splits(str(tmp_path), tmp_path / "cache", own_sources={}, fractions=FRACTIONS)
    assert (len(parts["train"]), text(parts["val"]), text(parts["test"])) == (89, b"abcde", b"test")
    assert (parts["val"].before, parts["test"].before) == (ord("a"), NEWLINE)


def test_parts_come_from_where_they_are_named(tmp_path):
    (tmp_path / "other").mkdir()
    write(tmp_path / "other" / "dev.txt", b"dev")
    write(tmp_path / "other" / "train.txt", b"not this")
    main, test = str(write(tmp_path / "raw")), str(write(tmp_path / "later.bz2", b"later"))
    val = str(tmp_path / "other")
    parts = read_byte_splits(main, tmp_path / "cache", own_sources={"val": val, "test": test}, fractions=FRACTIONS)
    assert [text(part) for part in parts.values()] == [CONTENT, b"dev", b"later"]


def test_help_texts_of_python_are_a_corpus_on_every_machine(tmp_path):
    parts = read_byte_splits("module://pydoc_data.topics", tmp_path, own_sources={}, fractions=FRACTIONS)
    assert 300_000 < sum(map(len, parts.values())) < 2_000_000
    assert text(parts["train"]).decode().startswith('The "assert" statement')
    assert parts["train"].file.name == f"pydoc_data.topics-{platform.python_version()}.txt"


@pytest.mark.parametrize(
    ("source", "settings", "words"),
    [
        ("module://os", {}, "'module://os'.*allowed: module://pydoc_data.topics"),
        ("hub://ptb", {}, "a hub dataset is not a file of bytes"),
        ("ftp://host/raw", {}, "of an unknown kind"),
        ("{folder}/nowhere", {}, "no such file"),
        ("{folder}/empty", {}, "empty: has no file"),
        ("{folder}/val_only", {}, "has val but no training split"),
        (
            "{folder}/raw",
            {"own_sources": {"val": "{folder}/two"}},
            "val_source .*two: has train, test, but no val",
        ),
        ("{folder}/raw", {"fractions": {"val": 1.0, "test": 0.1}}, "val_fraction is 1.0; it must be above 0"),
        ("{folder}/raw", {"fractions": {"val": 0.1, "test": 0.0}}, "test_fraction is 0.0"),
        ("{folder}/raw", {"fractions": {"val": 0.5, "test": 0.5}}, "the train split is empty: 2055 bytes"),
        ("{folder}/raw", {"fractions": {"val": 0.1, "test": 1e-4}}, "the test split is empty"),
        ("{folder}/raw#sha256=" + "0" * 64, {}, "expected 000"),
    ],
)
def test_wrong_sources_are_answered(tmp_path, source, settings, words):
    for folder, files in (("empty", []), ("val_only", ["val"]), ("two", ["train", "test"])):
        (tmp_path / folder).mkdir()
        for file in files:
            write(tmp_path / folder / file)
    write(tmp_path / "raw")
    own_sources = {split: own.format(folder=tmp_path) for split, own in settings.get("own_sources", {}).items()}
    settings = {"fractions": FRACTIONS, **settings, "own_sources": own_sources}
    with pytest.raises(InputError, match=words):
        read_byte_splits(source.format(folder=tmp_path), tmp_path / "cache", **settings)


def test_a_part_travels_to_a_loader_process_without_its_bytes(tmp_path):
    part = ByteRange(write(tmp_path / "raw", CONTENT * 100), 5, 200_000, before=4)
    expected = part.digest()
    packed = pickle.dumps(part)
    assert len(packed) < 1000
    again = pickle.loads(packed)
    assert again == part and again.digest() == expected and isinstance(again.data, np.memmap)


def test_a_digest_tells_bytes_and_the_one_before_apart(tmp_path):
    file = write(tmp_path / "raw")
    parts = [ByteRange(file, 0, 9), ByteRange(file, 0, 9, before=3), ByteRange(file, 0, 8), ByteRange(file, 1, 9)]
    assert len({part.digest() for part in parts}) == 4
    assert ByteRange(file, 256, 265).digest() == parts[0].digest()  # the same bytes elsewhere


def test_compressors_see_the_part_as_one_stream(tmp_path):
    content = CONTENT * 900  # more than one piece
    bits = ByteRange(write(tmp_path / "raw", content), 0, len(content)).compressed_bits()
    for name, packed in (("gzip", gzip.compress(content, 9)), ("bzip2", bz2.compress(content, 9))):
        assert bits[name] == 8 * len(packed) / len(content)
