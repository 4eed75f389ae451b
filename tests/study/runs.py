"""Start a study as a user would, and read what its trials have written."""

import os
import subprocess
import sys

from app.cli.main import main as train
from app.study.trials import result_of
from tests.conftest import ROOT
from tests.processes import started


def start(path, root, *arguments):
    command = [sys.executable, "-m", "app.study", "run", str(path), "--study_root", str(root), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return started(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def train_here(trials):
    """Run the trials in this process, one after the other: what no study has touched."""
    for trial in trials:
        assert train(["fit", *trial.arguments]) == 0
    return trials


def scores(trials):
    return [(result_of(trial)["test"], result_of(trial)["final"]) for trial in trials]
