"""A small study on this machine: killed and resumed, with a trial that fails; no number differs for it."""

import pytest

from app.study.__main__ import main
from app.study.plan import read_study
from app.study.status_display import status_lines
from app.study.trials import checkpoint_of, is_running, last_log_line, state_of
from tests.processes import wait_until
from tests.study.runs import scores, start, train_here

pytestmark = pytest.mark.slow


def test_a_killed_study_resumes_to_the_same_numbers(study, tmp_path, capsys):
    path = study()
    trials = read_study(path).trials(tmp_path / "killed")
    with start(path, tmp_path / "killed", "--jobs", "2") as first:
        wait_until(lambda: checkpoint_of(trials[0]), first)
        assert is_running(trials[0]) and "running" in status_lines(read_study(path), trials)[0]
    with start(path, tmp_path / "killed", "--jobs", "2") as second:  # the first is killed
        output, _ = second.communicate(timeout=300)
    assert second.returncode == 0, output
    for words in ("2 in parallel", "finished: quickstart layernorm seed 1", "2 of 2 trials done"):
        assert words in output
    assert main(["run", str(path), "--study_root", str(tmp_path / "killed")]) == 0
    assert "0 of 2 trials to run" in capsys.readouterr().out and not is_running(trials[0])
    assert scores(trials) == scores(train_here(read_study(path).trials(tmp_path / "untouched")))


def test_a_trial_that_fails_is_retried_and_does_not_stop_the_others(study, tmp_path):
    path = study(norms=["layernorm", {"name": "detachnorm", "sites": ["nowhere"]}, "none"])
    with start(path, tmp_path / "studies", "--jobs", "2") as done:
        output, _ = done.communicate(timeout=300)
    assert done.returncode == 1
    assert output.count("failed, retrying: quickstart detachnorm@patterns-") == 1
    assert "'nowhere' matches no norm" in output and "2 of 3 trials done" in output
    trials = read_study(path).trials(tmp_path / "studies")
    assert [state_of(trial, 1) for trial in trials] == ["finished", "failed", "finished"]
    assert "matches no norm" in last_log_line(trials[1])
