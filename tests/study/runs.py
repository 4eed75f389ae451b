"""Start a study as a person would, and look at what its cells have left."""

import os
import subprocess
import sys
import time

from app.study.trials import checkpoint_of, result_of
from tests.conftest import ROOT


def start(path, root, *arguments):
    command = [sys.executable, "-m", "app.study", "run", str(path), "--study_root", str(root), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def scores(cells):
    return [(result_of(cell)["test"], result_of(cell)["final"]) for cell in cells]


def wait_for_checkpoint(cell, seconds=120):
    deadline = time.monotonic() + seconds
    while checkpoint_of(cell) is None:
        assert time.monotonic() < deadline, f"{cell.name} has written no checkpoint"
        time.sleep(0.01)
