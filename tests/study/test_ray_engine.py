"""A small study on Ray on this machine, with a worker that is killed; and what Ray is asked in vain."""

import sys
from types import SimpleNamespace

import psutil
import pytest

from app.installation import TRAIN
from app.study.__main__ import main
from app.study.plan import read_study
from app.study.ray_engine import REQUIREMENT
from app.study.trials import checkpoint_of
from tests.conftest import ROOT
from tests.processes import wait_until
from tests.study.runs import scores, start, train_here


def worker_of(trial):
    """The process of Ray that runs the trial."""
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if TRAIN[-1] in command and str(trial.root) in command:
            return process.parent()
    raise AssertionError(f"{trial.name} is not run by any process")


@pytest.mark.slow
def test_a_study_one_of_whose_workers_is_killed_ends_with_the_same_numbers(study, tmp_path):
    path = study(norms=["layernorm"])
    trials = read_study(path).trials(tmp_path / "ray")
    with start(path, tmp_path / "ray", "--engine", "ray") as on_ray:
        wait_until(lambda: checkpoint_of(trials[0]), on_ray)
        worker = worker_of(trials[0])
        niceness = worker.nice()
        worker.kill()
        output, _ = on_ray.communicate(timeout=300)
    assert on_ray.returncode == 0, output
    for words in (
        "1 of 1 trials to run, on Ray, as many in parallel as fit, 1 CPUs (threads) each",
        f"failed, retrying: {trials[0].name}, exit status -9: lost by Ray",
        f"resumed: {trials[0].name}",
        "1 of 1 trials done",
    ):
        assert words in output
    assert niceness == psutil.Process().nice(), "whatever else runs on this machine would go before the study"
    assert scores(trials) == scores(train_here(read_study(path).trials(tmp_path / "untouched")))


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--gpus", "0.5"], "--gpus is 0.5; no machine of this Ray cluster has more than 0; request less"),
        (["--cpus", "9"], "--cpus is 9; no machine of this Ray cluster has more than 8; request less"),
    ],
)
def test_a_request_that_no_machine_meets_is_refused(study, flags, line, monkeypatch, capsys):
    ended = []
    nodes = [{"Alive": True, "Resources": {"CPU": 8.0}}, {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 1.0}}]
    ray = {"init": lambda *args, **options: None, "nodes": lambda: nodes, "shutdown": lambda: ended.append(True)}
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(**ray))
    assert main(["run", str(study()), "--engine", "ray", *flags]) == 2
    assert f"error: {line}" in capsys.readouterr().err and ended


def test_an_address_without_a_cluster(study, capsys):
    assert main(["run", str(study()), "--engine", "ray", "--address", "127.0.0.1:1"]) == 2
    assert "error: --address 127.0.0.1:1: no Ray cluster answers (" in capsys.readouterr().err


def test_without_ray_a_line_says_what_to_install(study, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["run", str(study()), "--engine", "ray"]) == 2
    assert f"--engine ray needs Ray, which is not installed: pip install {REQUIREMENT}" in capsys.readouterr().err


def test_ray_is_pinned_once():
    assert REQUIREMENT in (ROOT / "tests" / "requirements.txt").read_text(encoding="utf-8").splitlines()


def test_flags_of_the_other_engine_are_refused(study, capsys):
    for flags, line in (
        (["--engine", "ray", "--jobs", "2"], "--jobs is for --engine local, not for ray; omit it"),
        (["--cpus", "2"], "--cpus is for --engine ray, not for local; omit it"),
        (["--engine", "ray", "--cpus", "0"], "--cpus is 0; must be >= 1"),
        (
            ["--engine", "ray", "--gpus", "-1"],
            "--gpus is -1; must be a whole number >= 0, or a fraction between 0.001 and 1",
        ),
        (["--engine", "ray", "--gpus", "1.5"], "--gpus is 1.5; must be a whole number >= 0"),
        (["--jobs", "0"], "--jobs is 0; must be >= 1"),
    ):
        assert main(["run", str(study()), *flags]) == 2
        assert line in capsys.readouterr().err
