"""Reading images with a class each: idx and csv files written here byte by byte, and image datasets."""

import gzip
import struct
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image as PilImage

from app.datamodules.image_classification.pixel_table import PixelTable
from app.datamodules.image_classification.reader import images_to_predict, read_images, read_labelled_images
from app.errors import InputError

PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 14
LABELS = np.array([7, 2], dtype=np.uint8)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write(folder: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def mnist(split: str, pixels: np.ndarray = PIXELS, labels: np.ndarray = LABELS) -> dict[str, bytes]:
    return {f"{split}-images-idx3-ubyte": idx(pixels), f"{split}-labels-idx1-ubyte": idx(labels)}


def csv_rows(pixels: np.ndarray, labels: list | None = None) -> str:
    rows = [[str(value) for value in image.ravel()] for image in pixels]
    return "".join(",".join([*row, *([str(labels[n])] if labels else [])]) + "\n" for n, row in enumerate(rows))


# idx


def test_mnist_files_plain_and_packed(tmp_path):
    packed = {f"{name}.gz": gzip.compress(content) for name, content in mnist("t10k", PIXELS[:1], LABELS[:1]).items()}
    read = read_labelled_images(write(tmp_path, {**mnist("train"), **packed, "README.md": "digits"}))
    assert list(read) == ["train", "test"]
    np.testing.assert_array_equal(read["train"].pixels, PIXELS)
    assert (read["train"].labels, read["test"].labels) == (["7", "2"], ["7"])
    assert read["train"].where(1) == f"{tmp_path}/train-images-idx3-ubyte:2"
    torch.from_numpy(read["train"].pixels)[0] = 1  # writable: torch warns of anything else


def test_names_with_a_dot_and_no_split(tmp_path):
    write(tmp_path, {"images.idx3-ubyte": idx(PIXELS), "labels.idx1-ubyte": idx(LABELS)})
    assert list(read_labelled_images(tmp_path)) == ["all"]


@given(pixels=hnp.arrays(np.uint8, st.one_of(*(st.tuples(*[st.integers(1, 4)] * dimensions) for dimensions in (3, 4)))))
def test_idx_images_come_back_as_they_were_written(pixels):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "x").write_bytes(idx(pixels))
        np.testing.assert_array_equal(read_images(Path(folder) / "x"), pixels, strict=True)


@given(length=st.integers(0, len(idx(PIXELS)) - 1), surplus=st.binary(min_size=1, max_size=3))
def test_an_idx_file_of_another_length_is_refused(length, surplus):
    with tempfile.TemporaryDirectory() as folder:
        for content in (idx(PIXELS)[:length], idx(PIXELS) + surplus):
            (Path(folder) / "x").write_bytes(content)
            with pytest.raises(InputError, match=f"{folder}/x: "):
                read_images(Path(folder) / "x")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train-images-idx3-ubyte": idx(PIXELS)}, "train-images-idx3-ubyte has no partner"),
        (mnist("train", labels=LABELS[:1]), "has 2 images, train-labels-idx1-ubyte 1 labels"),
        (mnist("train", pixels=LABELS, labels=PIXELS), "has 1 dimensions, not 3 or 4"),
        (mnist("train", pixels=PIXELS[:0], labels=LABELS[:0]), "is empty"),
        ({**mnist("train"), "train-images-idx3-ubyte": b"\0\0\x0d\3" + idx(PIXELS)[4:]}, "not 00 00 08"),
        ({**mnist("train"), "train-images-idx3-ubyte.gz": b""}, "are both for train"),
        ({**mnist("train"), "train.csv": "1,2\n"}, "train.csv, .*are of different layouts"),
        ({**mnist("train"), **mnist("t10k", PIXELS[:, :2])}, "different shapes .*train.*test"),
        ({"train.png": b""}, "no image data among train.png; allowed: idx files"),
        ({}, "no image data"),
        ({"a.csv": "1,2\n", "b.csv": "1,2\n"}, "are both for all"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused(tmp_path, files, message):
    with pytest.raises(InputError, match=message):
        read_labelled_images(write(tmp_path, files))


def test_one_half_of_a_pair_is_not_a_dataset(tmp_path):
    write(tmp_path, mnist("train"))
    with pytest.raises(InputError, match="use the folder that has both"):
        read_labelled_images(tmp_path / "train-images-idx3-ubyte")


# csv


@pytest.mark.parametrize("name", ["digits.csv", "digits.csv.gz"])
def test_pixels_with_the_label_behind_them(tmp_path, name):
    content = csv_rows(PIXELS, ["cat", 5]).encode()
    write(tmp_path, {name: gzip.compress(content) if name.endswith("gz") else content})
    read = read_labelled_images(tmp_path / name)["all"]
    np.testing.assert_array_equal(read.pixels, PIXELS, strict=True)
    assert read.labels == ["cat", "5"]
    assert read.where(1) == f"{tmp_path / name}:2"


def test_a_csv_of_colour_or_no_square_needs_its_shape(tmp_path):
    pixels = PIXELS.reshape(1, 3, 2, 3)
    write(tmp_path, {"x.csv": csv_rows(pixels, [1]), "bare.csv": csv_rows(pixels)})
    np.testing.assert_array_equal(
        read_labelled_images(tmp_path / "x.csv", table=PixelTable([3, 2, 3]))["all"].pixels, pixels
    )
    np.testing.assert_array_equal(read_images(tmp_path / "bare.csv", table=PixelTable((3, 2, 3))), pixels)
    with pytest.raises(InputError, match="18 pixels where an image has a square number of pixels .*set image_shape"):
        read_labelled_images(tmp_path / "x.csv")
    with pytest.raises(InputError, match=r"18 pixels where an image has \(4, 4\), 16 pixels"):
        read_labelled_images(tmp_path / "x.csv", table=PixelTable((4, 4)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "x.csv: is empty"),
        ("1,2,3,4,a\n1,2,3,a\n", "x.csv:2: 3 pixels where the first line has 4"),
        ("1,2,3,4,a\n\n1,2,3,4,a\n", "x.csv:2: is an empty line"),
        ("1,2,3,4,a\n1,2,3,4,\n", "x.csv:2: ends with '1,2,3,4,'"),
        ("p0,p1,p2,p3,label\n1,2,3,4,a\n", "x.csv:1: pixel 1 is 'p0'; it must be 0 to 255, or set data.header true"),
        ("1,2,3,4,a\n1,256,3,4,a\n", "x.csv:2: pixel 2 is '256'"),
        ("1,2,-3,4,a\n", "x.csv:1: pixel 3 is '-3'"),
        ("1,2,3,4.5,a\n", "x.csv:1: pixel 4 is '4.5'"),
        ("1,2,3,,a\n", "x.csv:1: pixel 4 is ''"),
        ("1,1_0,3,4,a\n", "x.csv:1: pixel 2 is '1_0'"),
        ("1,2,3,٣,a\n", "x.csv:1: pixel 4 is '٣'"),
        (b"1,2,3,4,a\n1,2,3,4,\xff\n", "x.csv:2: byte 0xff"),
    ],
)
def test_a_broken_row_is_named(tmp_path, content, message):
    write(tmp_path, {"x.csv": content})
    with pytest.raises(InputError, match=message):
        read_labelled_images(tmp_path)


fields = st.sampled_from(["0", "255", "256", " 7 ", "", "-1", "1_0", "x", "0" * 5000, "0255"])


@given(rows=st.lists(st.lists(fields, min_size=1, max_size=5).map(",".join), max_size=3))
@example(rows=["0,0", ""])
def test_any_csv_is_read_or_refused(rows):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.csv"
        path.write_text("\n".join(rows))
        try:
            read = read_labelled_images(path)["all"]
        except InputError as error:
            assert str(path) in str(error)
        else:
            rows = rows[:-1] if rows[-1] == "" else rows  # a newline that ends the file begins no row
            expected = [[int(field) for field in row.split(",")[:-1]] for row in rows]
            np.testing.assert_array_equal(read.pixels.reshape(len(rows), -1), expected)


def test_images_to_predict(tmp_path):
    write(tmp_path, {"x.csv": csv_rows(PIXELS), "labelled.csv": csv_rows(PIXELS, [1, 2]), "labels": idx(LABELS)})
    write(tmp_path, {"images.gz": gzip.compress(idx(PIXELS))})
    for name in ("x.csv", "images.gz"):
        np.testing.assert_array_equal(read_images(tmp_path / name, table=PixelTable((3, 3))), PIXELS, strict=True)
        with pytest.raises(InputError, match="image"):
            read_images(tmp_path / name, table=PixelTable((4, 4)))
    labelled = read_images(tmp_path / "labelled.csv", table=PixelTable((3, 3)))  # the label is skipped
    np.testing.assert_array_equal(labelled, PIXELS, strict=True)
    with pytest.raises(InputError, match="has 1 dimensions"):
        read_images(tmp_path / "labels")


def test_images_to_predict_come_in_pieces_and_from_standard_input(tmp_path, monkeypatch):
    rows = csv_rows(PIXELS).encode()
    write(tmp_path, {"x.csv": rows})
    pieces = images_to_predict(str(tmp_path / "x.csv"), PixelTable((3, 3)), chunk_size=1)
    assert pieces.total == 2 and [piece.tolist() for piece in pieces] == [[image.tolist()] for image in PIXELS]

    def comes(*pieces):
        read = iter([*pieces, b""])
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=SimpleNamespace(read1=lambda size: next(read))))
        return images_to_predict("-", PixelTable((3, 3)), chunk_size=1)

    first, second = rows.splitlines(keepends=True)
    assert [piece.tolist() for piece in comes(first, second)] == [[image.tolist()] for image in PIXELS]
    with pytest.raises(InputError, match="standard input:2: pixel 1 is 'x126'"):
        list(comes(first, b"x" + second))
    with pytest.raises(InputError, match="standard input: is empty"):
        list(comes())


def test_the_label_of_a_csv_may_be_in_another_column(tmp_path):
    pixels = np.array([[[0, 90], [7, 90]], [[9, 90], [7, 200]]], dtype=np.uint8)
    rows = [",".join(map(str, [label, *image.ravel()])) for label, image in enumerate(pixels)]
    header = '"label",p0,p1,p2,p3'
    write(tmp_path, {"first.csv": "\n".join(rows), "named.csv": "\n".join([header, *rows])})
    first, named = PixelTable(label_column="1"), PixelTable(header=True)
    for name, table in (("first.csv", first), ("named.csv", named)):
        read = read_labelled_images(tmp_path / name, table=table)["all"]
        np.testing.assert_array_equal(read.pixels, pixels, strict=True)
        assert read.labels == ["0", "1"]
        assert read.where(1) == f"{tmp_path / name}:{2 + table.header}"
    for table, message in (
        (PixelTable(), "the first one has all from 0 to 1, as labels do; set data.label_column to 1 .*, or to 5"),
        (PixelTable(label_column="6"), r"first.csv: no column '6'.*numbers, 1 to 5"),
        (PixelTable(label_column="digit"), "first.csv: no column 'digit'.*numbers, 1 to 5"),
    ):
        with pytest.raises(InputError, match=message):
            read_labelled_images(tmp_path / "first.csv", table=table)
    assert read_labelled_images(tmp_path / "first.csv", table=PixelTable(label_column="5"))["all"].labels == [
        "90",
        "200",
    ]
    with pytest.raises(InputError, match="named.csv:1: no column 'digit'; it has 'label', 'p0'"):
        read_labelled_images(tmp_path / "named.csv", table=PixelTable(label_column="digit", header=True))
    with pytest.raises(InputError, match="named.csv:1: pixel 1 is .*set data.header true"):
        read_labelled_images(tmp_path / "named.csv", table=first)


# npz


def test_an_archive_has_all_splits_or_one_of_them(tmp_path):
    np.savez(tmp_path / "x.npz", x_train=PIXELS, y_train=LABELS, x_test=PIXELS[:1], y_test=LABELS[:1], names=["a"])
    read = read_labelled_images(tmp_path / "x.npz")
    assert {split: images.labels for split, images in read.items()} == {"train": ["7", "2"], "test": ["7"]}
    np.testing.assert_array_equal(read["train"].pixels, PIXELS, strict=True)
    (tmp_path / "two").mkdir()
    np.savez_compressed(tmp_path / "two/train.npz", images=PIXELS, labels=LABELS[:, None])
    np.savez(tmp_path / "two/val.npz", images=PIXELS, labels=["7", "cat"])
    read = read_labelled_images(tmp_path / "two")
    assert {split: images.labels for split, images in read.items()} == {"train": ["7", "2"], "val": ["7", "cat"]}
    np.testing.assert_array_equal(read_images(tmp_path / "two/val.npz"), PIXELS)
    with pytest.raises(InputError, match="x.npz: has images of 2 splits"):
        read_images(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": PIXELS}, "x.npz: has no array of labels for all; add it"),
        ({"images": PIXELS / 255, "labels": LABELS}, "'images' is .* of float64; it must be .* uint8"),
        ({"images": PIXELS, "labels": LABELS[:1]}, r"labels for all are \(1,\) .* each of the 2 images"),
        ({"images": PIXELS, "labels": LABELS / 2}, "of float64; there must be a whole number or a text"),
        ({"images": PIXELS, "x": PIXELS, "labels": LABELS}, "array 'x' is a second one of images for all"),
        ({"a": PIXELS}, "has a, none of them images"),
        ({"images": np.array([None]), "labels": LABELS}, "not a valid .npz file .*numpy.savez"),
    ],
)
def test_an_archive_that_does_not_fit_is_refused(arrays, message, tmp_path):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(InputError, match=message):
        read_labelled_images(tmp_path / "x.npz")


# Pictures


def pictures(folder: Path, names: list[str], array: np.ndarray = PIXELS[0], mode: str | None = None) -> Path:
    for shade, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image = PilImage.fromarray(array + np.uint8(shade))
        (image.convert(mode) if mode else image).save(folder / name)
    return folder


def test_pictures_are_in_a_folder_for_each_class(tmp_path):
    whole = read_labelled_images(pictures(tmp_path / "a", ["dog/2.png", "cat/1.PNG", "dog/1.png"]))["all"]
    assert whole.labels == ["cat", "dog", "dog"] and whole.where(0) == f"{tmp_path}/a:cat/1.PNG"
    np.testing.assert_array_equal(whole.pixels, PIXELS[[0, 0, 0]] + np.array([1, 2, 0], np.uint8)[:, None, None])
    pictures(tmp_path / "b", ["train/cat/1.png", "dev/dog/2.png", "look.png"], np.stack([PIXELS[0]] * 3, axis=-1))
    read = read_labelled_images(tmp_path / "b")
    assert {split: (images.labels, images.pixels.shape) for split, images in read.items()} == {
        "train": (["cat"], (1, 3, 3, 3)), "val": (["dog"], (1, 3, 3, 3)),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("names", "mode", "message"),
    [
        (["train/1.png", "test/2.png"], None, "test/2.png: must be in a folder that is named as its class"),
        (["a/b/c/1.png"], None, "a/b/c/1.png: must be in a folder that is named as its class"),
        (["train/cat/1.png", "cat/2.png"], None, "has folders of classes next to train, val or test"),
        (["cat/1.png"], "RGBA", "cat/1.png: an image of mode RGBA; allowed: grey"),
        (["1.png"], None, "no image data among 1.png; allowed: .* a folder of pictures for each class"),
    ],
)
def test_a_folder_of_pictures_that_does_not_fit_is_refused(names, mode, message, tmp_path):
    with pytest.raises(InputError, match=message):
        read_labelled_images(pictures(tmp_path, names, mode=mode))


def test_pictures_to_predict(tmp_path):
    pictures(tmp_path, ["2.png", "1/3.png"])
    table = PixelTable((3, 3))
    shades = np.array([1, 0], np.uint8)[:, None, None]
    np.testing.assert_array_equal(read_images(tmp_path, table), PIXELS[[0, 0]] + shades)
    np.testing.assert_array_equal(read_images(tmp_path / "2.png", table), PIXELS[:1], strict=True)
    with pytest.raises(InputError, match=r"2.png: the image is \(3, 3\), those of the training split \(4, 4\)"):
        read_images(tmp_path / "2.png", PixelTable((4, 4)))
    write(tmp_path, {"3.png": "x"})
    with pytest.raises(InputError, match="3.png: invalid image"):
        read_images(tmp_path / "3.png", table)
    write(tmp_path, {"4.png": "x"})
    with pytest.raises(InputError, match=r"3.png: invalid image .*\n1 more picture is wrong: .*4.png \(invalid image"):
        read_images(tmp_path, table)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="none: is a folder without pictures"):
        read_images(tmp_path / "none", table)


def test_subsets_remember_their_rows(tmp_path):
    write(tmp_path, {"x.csv": csv_rows(PIXELS, ["a", "b"])})
    part = read_labelled_images(tmp_path)["all"].subset(np.array([1]))
    np.testing.assert_array_equal(part.pixels, PIXELS[1:])
    assert (part.labels, part.where(0), len(part)) == (["b"], f"{tmp_path}/x.csv:2", 1)


# The hub


def hub_split(arrays: list, labels: list, mode: str | None = None) -> Dataset:
    images = [None if array is None else PilImage.fromarray(array) for array in arrays]
    features = Features({"image": Image(), "label": ClassLabel(names=["cat", "dog"])})
    converted = [image.convert(mode) if mode and image else image for image in images]
    return Dataset.from_dict({"image": converted, "label": labels}, features=features)


COLOUR = np.stack([PIXELS, PIXELS + 1, PIXELS + 2], axis=-1)


@pytest.mark.parametrize("pixels", [PIXELS, COLOUR], ids=["grey", "colour"])
def test_hub_images_and_class_names(pixels):
    dataset = DatasetDict({"train": hub_split(list(pixels), [1, 0]), "test": hub_split(list(pixels[:1]), [-1])})
    read = read_labelled_images(dataset)
    assert list(read) == ["train"]
    np.testing.assert_array_equal(read["train"].pixels, pixels, strict=True)
    assert read["train"].labels == ["dog", "cat"]
    assert read["train"].where(1) == "hub split 'train':2"


@pytest.mark.parametrize(
    ("split", "options", "message"),
    [
        (
            hub_split([PIXELS[0], PIXELS[0, :2]], [0, 0]),
            {},
            r"'train':2: the image is \(2, 3\), the first one \(3, 3\)",
        ),
        (hub_split([PIXELS[0]], [0], "CMYK"), {}, "'train':1: an image of mode CMYK; allowed: grey"),
        (hub_split([PIXELS[0], None], [0, 1]), {}, "'train':2: not an image"),
        (hub_split([PIXELS[0]], [0]), {"image_column": "img"}, "no column 'img'.*it has 'image', 'label'"),
        (hub_split([PIXELS[0]], [0]), {"image_column": "label"}, "column 'label' is ClassLabel.*, not images"),
        (hub_split([PIXELS[0]], [-1]), {}, "no split has labels"),
    ],
)
def test_a_hub_dataset_that_does_not_fit_is_refused(split, options, message):
    with pytest.raises(InputError, match=message):
        read_labelled_images(DatasetDict({"train": split}), **options)


def test_a_hub_image_that_does_not_decode_is_named():
    features = Features({"image": Image(), "label": Value("int64")})
    split = Dataset.from_dict({"image": [{"bytes": b"no image", "path": None}], "label": [0]}, features=features)
    with pytest.raises(InputError, match="'train':1: invalid image"):
        read_labelled_images(DatasetDict({"train": split}))
