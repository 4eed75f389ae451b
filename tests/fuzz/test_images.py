"""idx files and csv of pixels against numpy, and zips of bytes."""

import gzip
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.datamodules.image_classification.reader import read_images, read_labelled_images
from app.datamodules.language_modeling.reader import open_bytes
from tests.bad_input.contents import idx, zipped
from tests.fuzz.damage import damaged, fuzzed, outcome

CSV = b"0,1,2,255,7\n10, 11,12,13,3\n1,1,1,1,7\n"


@fuzzed
@given(content=damaged(idx([3, 4, 4])), labels=damaged(idx([3])) | st.just(idx([3])))
def test_idx_is_what_its_header_says(content, labels, tmp_path):
    path = tmp_path / "images-idx3-ubyte"
    path.write_bytes(content)
    (tmp_path / "labels-idx1-ubyte").write_bytes(labels)
    read = outcome(lambda: read_images(path), path)
    if read is not None:
        sizes = np.frombuffer(content, ">u4", count=content[3], offset=4)
        assert np.array_equal(read, np.frombuffer(content, np.uint8, offset=4 + 4 * len(sizes)).reshape(sizes))
    both = outcome(lambda: read_labelled_images(tmp_path), tmp_path)
    if both is not None:
        assert np.array_equal(both["all"].pixels, read) and both["all"].labels == list(map(str, labels[8:]))


@fuzzed
@given(content=damaged(gzip.compress(idx([3, 4, 4]))))
def test_packed_idx(content, tmp_path):
    path = tmp_path / "images-idx3-ubyte.gz"
    path.write_bytes(content)
    read = outcome(lambda: read_images(path), path)
    assert read is None or read.size == len(gzip.decompress(content)) - 4 - 4 * read.ndim


@fuzzed
@given(content=damaged(CSV))
def test_pixels_are_those_of_numpy(content, tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    read = outcome(lambda: read_labelled_images(path), path, "image_shape")
    if read is not None:
        (part,) = read.values()
        rows = [line.rpartition(",")[0] for line in content.decode("utf-8-sig").removesuffix("\n").split("\n")]
        assert np.array_equal(part.pixels.reshape(len(rows), -1), np.loadtxt(rows, np.int64, delimiter=",", ndmin=2))
    outcome(lambda: read_images(path), path, "image_shape")


@pytest.mark.parametrize("suffix", [".zip", ".gz"])
@fuzzed
@given(data=st.data())
def test_packed_bytes(suffix, data, tmp_path):
    whole = zipped({"a": "some bytes\n" * 9}) if suffix == ".zip" else gzip.compress(b"some bytes\n" * 9)
    content = data.draw(damaged(whole))
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    read = outcome(lambda: open_bytes(path, tmp_path).data.tobytes(), path)
    if read is not None and suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            assert read == archive.read(archive.infolist()[0])
