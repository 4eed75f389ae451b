"""A real small study on this machine: killed, gone on with, with a cell that fails; every number as if nothing was."""

import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from app.study.cells import checkpoint_of, last_words, result_of, state_of
from app.study.plan import read_study
from tests.conftest import ROOT
from tests.exactness.cases import CASES

CASE = CASES["classification"]


@pytest.fixture
def study(tmp_path, tiny_texts):
    """Two norms on one seed, and a third that fails: its option is one that only the model finds wrong."""

    def write(**changes):
        settings = dict(argument.removeprefix("--").split("=", 1) for argument in CASE.arguments(tiny_texts))
        settings |= {"data.cache_dir": str(tmp_path / "cache"), "trainer.max_epochs": 4, "checkpoint_every_steps": 1}
        content = {
            "configs": [str(ROOT / CASE.config)], "norms": ["layernorm", "detachnorm"], "seeds": [1],
            "overrides": settings, **changes,
        }  # fmt: skip
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
        return tmp_path / "study.yaml"

    return write


def start(path, root, *arguments):
    command = [sys.executable, "-m", "app.study", "run", str(path), "--study_root", str(root), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def scores(cells):
    return [(result_of(cell)["test"], result_of(cell)["final"]) for cell in cells]


def test_a_study_that_was_killed_goes_on_to_the_same_numbers(study, tmp_path):
    path = study()
    cells = read_study(path).cells(tmp_path / "killed")
    first = start(path, tmp_path / "killed", "--jobs", "2")
    deadline = time.monotonic() + 120
    while checkpoint_of(cells[0]) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    second = start(path, tmp_path / "killed", "--jobs", "2")
    output, _ = second.communicate(timeout=300)
    assert second.returncode == 0, output
    for words in ("2 at a time", "finished: quickstart layernorm seed 1", "2 of 2 cells done"):
        assert words in output
    third = start(path, tmp_path / "killed")
    output, _ = third.communicate(timeout=60)
    assert "0 of 2 cells to run" in output
    untouched = start(path, tmp_path / "untouched", "--jobs", "2")  # as many threads for each
    output, _ = untouched.communicate(timeout=300)
    assert untouched.returncode == 0, output
    assert scores(cells) == scores(read_study(path).cells(tmp_path / "untouched"))


def test_a_cell_that_fails_is_tried_again_and_does_not_stop_the_others(study, tmp_path):
    path = study(norms=["layernorm", {"name": "detachnorm", "sites": ["nowhere"]}, "none"])
    done = start(path, tmp_path / "studies", "--jobs", "2")
    output, _ = done.communicate(timeout=300)
    assert done.returncode == 1
    assert output.count("failed, trying again: quickstart detachnorm@patterns-") == 1
    assert "'nowhere' matches no norm" in output and "2 of 3 cells done" in output
    cells = read_study(path).cells(tmp_path / "studies")
    assert [state_of(cell, 1) for cell in cells] == ["finished", "failed", "finished"]
    assert "matches no norm" in last_words(cells[1])
