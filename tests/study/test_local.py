"""A small study on this machine: killed and resumed, with a trial that fails; no number differs for it."""

import os
from contextlib import redirect_stderr, redirect_stdout

import pytest

from app.cli.main import main as train
from app.study.__main__ import main
from app.study.launch import Engine, Job
from app.study.plan import read_study
from app.study.status_display import status_lines
from app.study.trials import checkpoint_of, is_running, last_log_line, state_of
from tests.processes import wait_until
from tests.study.runs import scores, start, train_here

JOBS = len(os.sched_getaffinity(0))  # each trial has one thread, as the runs of this process have


@pytest.mark.slow
def test_a_killed_study_resumes_to_the_same_numbers(study, tmp_path, capsys):
    path = study()
    trials = read_study(path).trials(tmp_path / "killed")
    with start(path, tmp_path / "killed", "--jobs", str(JOBS)) as first:
        wait_until(lambda: checkpoint_of(trials[0]), first)
        assert is_running(trials[0]) and "running" in status_lines(read_study(path), trials)[0]
    command = ["run", str(path), "--study_root", str(tmp_path / "killed"), "--jobs", str(JOBS)]
    assert main(command) == 0  # once the first is killed
    output = capsys.readouterr().out
    for words in (f"{JOBS} in parallel", "finished: quickstart layernorm seed 1", "2 of 2 trials done"):
        assert words in output
    assert main(command) == 0
    assert "0 of 2 trials to run" in capsys.readouterr().out and not is_running(trials[0])
    assert scores(trials) == scores(train_here(read_study(path).trials(tmp_path / "untouched")))


class HereEngine(Engine):
    """Runs each trial to its end in this process, as soon as it starts."""

    description = "here"

    def __init__(self, jobs):
        self.jobs = jobs

    def has_room(self, jobs):
        return jobs < self.jobs

    def start(self, trial):
        return HereJob(trial)


class HereJob(Job):
    def __init__(self, trial):
        super().__init__(trial)
        with open(trial.log, "a") as log, redirect_stdout(log), redirect_stderr(log):
            self.status = train(["fit", *trial.arguments])

    def has_started(self):
        return True

    def exit_status(self):
        return self.status

    def terminate(self):
        raise AssertionError("no trial is left")

    wait = terminate


def test_a_trial_that_fails_is_retried_and_does_not_stop_the_others(study, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("app.study.__main__.LocalEngine", HereEngine)
    path = study(norms=["layernorm", {"name": "detachnorm", "sites": ["nowhere"]}, "none"])
    assert main(["run", str(path), "--study_root", str(tmp_path / "studies"), "--jobs", "2"]) == 1
    output = capsys.readouterr().out
    assert output.count("failed, retrying: quickstart detachnorm@patterns-") == 1
    assert "'nowhere' matches no norm" in output and "2 of 3 trials done" in output
    trials = read_study(path).trials(tmp_path / "studies")
    assert [state_of(trial, 1) for trial in trials] == ["finished", "failed", "finished"]
    assert "matches no norm" in last_log_line(trials[1])
