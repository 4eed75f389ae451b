"""Small real-looking data that every test may train on, and a way to run train.py as a person would."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from app.cli.main import main
from tests.stand_ins import ROOT as ROOT
from tests.stand_ins import sentence_pairs, write_aligned, write_bytes, write_images, write_texts, write_treebank

# Tests run side by side (-n auto): more threads than cores would wait for each other, here and in what tests start.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first, so that short ones keep all workers busy at the end; what is idle takes from the end of others.

    A worker of pytest-xdist begins with a contiguous share of the tests, so each share begins with its own slow ones.
    Those of a file stay together, as its fixtures are made once in a worker; the files of studies are the first.
    """
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    slow = [item for item in items if item.get_closest_marker("slow")]
    fast = [item for item in items if not item.get_closest_marker("slow")]
    files = sorted({item.path for item in slow}, key=lambda path: ("/study/" not in str(path), path))
    shares = []
    for worker in range(count):
        share = [item for file in files[worker::count] for item in slow if item.path == file]
        room = (len(items) - sum(map(len, shares))) // (count - worker) - len(share)  # as xdist cuts them
        shares.append(share + fast[: max(0, room)])
        fast = fast[max(0, room) :]
    items[:] = [item for share in shares for item in share] + fast


def mostly_slow(values: Iterable[Any], *fast: Any) -> list[Any]:
    """The parameters of a test, all marked as slow but those given, which stay in the daily loop."""
    return [value if value in fast else pytest.param(value, marks=pytest.mark.slow) for value in values]


@pytest.fixture(scope="session")
def tiny_texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with reviews.pos and reviews.neg: 120 sentences of 3 to 12 words, two classes that words tell apart."""
    return write_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="session")
def tiny_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with MNIST's four idx files: 80 + 20 images, a bright row at the height that the class says."""
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def tiny_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pairs.en beside pairs.de: 120 sentences and their translations word by word."""
    folder = tmp_path_factory.mktemp("pairs")
    write_aligned(folder / "pairs", ("en", "de"), sentence_pairs(120))
    return folder


@pytest.fixture(scope="session")
def tiny_bytes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of about two kilobytes of sentences."""
    return write_bytes(tmp_path_factory.mktemp("bytes") / "text")


@pytest.fixture(scope="session")
def tiny_trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 100 sentences in CoNLL-U, a few with crossing arcs."""
    path = tmp_path_factory.mktemp("trees") / "trees.conllu"
    write_treebank(path, 100)
    return path


@pytest.fixture(scope="session")
def sources(
    tiny_texts: Path, tiny_images: Path, tiny_pairs: Path, tiny_bytes: Path, tiny_trees: Path
) -> dict[str, Path]:
    """Tiny data by the name of its fixture."""
    return {
        "tiny_texts": tiny_texts,
        "tiny_images": tiny_images,
        "tiny_pairs": tiny_pairs,
        "tiny_bytes": tiny_bytes,
        "tiny_trees": tiny_trees,
    }


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Call train.py with arguments; run folders and caches go under tmp_path.

    Pictures are drawn where `--plots true` asks for them: they take longer than a run of a few updates.
    """
    monkeypatch.chdir(tmp_path)

    def call(command: str, config: str | Path | None, *arguments: object) -> int:
        configs = [] if config is None else ["--config", str(ROOT / config)]
        without = ["--plots=false"] if command == "fit" else []
        return main([command, *configs, *without, *map(str, arguments)])

    return call


def only_run(root: Path) -> Path:
    """The one run folder under a folder of runs."""
    (result,) = root.rglob("result.json")
    return result.parent


def read_result(run: Path) -> dict[str, Any]:
    """result.json of a run folder."""
    return json.loads((run / "result.json").read_text())
