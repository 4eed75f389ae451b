"""What a study says of a run that still trains: epoch, primary metric and time left, from the files of the run."""

import json
import os
import time

import pytest

from app.metrics.info import BLEU, LAS
from app.norms import NormSpec
from app.runs.identity import RunIdentity
from app.runs.run_info import write_run_info
from app.study.plan import Condition, Trial, Variant
from app.study.trials import Progress, progress_of, result_of, run_folder, state_of

TRANSLATION = {"val/loss": 2.0, "val/perplexity": 7.4, "val/bleu": 31.5, "val/chrf": 55.0}
PARSING = {"val/loss": 0.4, "val/uas": 0.92, "val/las": 0.9}


@pytest.fixture
def trial(tmp_path):
    norm = NormSpec.parse({"name": "adanorm", "options": {"k": 0.2}, "sites": ["layer.0"]})
    return Trial(Condition("a", ("a.yaml",)), Variant(norm), 3, tmp_path, arguments=())


def make_run(trial, events):
    folder = RunIdentity("translation", "pairs", "mbart-3x256", trial.variant.norm, trial.seed).folder(trial.root)
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return folder


@pytest.mark.parametrize(("scores", "primary"), [(TRANSLATION, BLEU), (PARSING, LAS)], ids=["translation", "parsing"])
def test_the_score_of_a_running_trial_is_its_primary_metric(trial, scores, primary):
    first = {name: 0.5 * score for name, score in scores.items()}
    folder = make_run(
        trial,
        [
            {"step": 10, "epoch": 1, "train/loss": 3.0, "seconds_left": 80.0},
            {"step": 15, "epoch": 1, **first},
            {"step": 20, "epoch": 2, "train/loss": 2.0, "seconds_left": 61.5},
            {"step": 30, "epoch": 2, **scores},
            {"step": 31, "epoch": 3, "train/loss": 1.9},
        ],
    )
    assert progress_of(trial) == Progress(epoch=3, score=None, seconds_left=61.5)  # which metric is primary is unknown
    write_run_info(folder, RunIdentity("translation", "pairs", "mbart-3x256", trial.variant.norm, trial.seed), primary)
    score = scores[f"val/{primary.name}"] * (100 if primary.is_share else 1)
    assert progress_of(trial) == Progress(epoch=3, score=score, seconds_left=61.5)


def test_a_run_of_an_earlier_version_has_its_primary_metric_in_its_result(trial):
    folder = make_run(trial, [{"step": 30, "epoch": 2, **PARSING}])
    result = {"schema": 2, "status": "stopped", "test": None, "primary_metric": {"name": "las", "mode": "max"}}
    (folder / "result.json").write_text(json.dumps(result))
    assert progress_of(trial).score == 90


def test_a_score_is_found_before_any_number_of_longer_lines(trial):
    lines = [{"step": step, "epoch": 1, "norms": "x" * 20_000} for step in range(30, 40)]
    folder = make_run(trial, [{"step": 20, "epoch": 1, "seconds_left": 9.5, **PARSING}, *lines])
    write_run_info(folder, RunIdentity("parsing", "trees", "bert", trial.variant.norm, trial.seed), LAS)
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"step": 41, "epoch": 1')  # torn
    assert progress_of(trial) == Progress(epoch=1, score=90, seconds_left=9.5)


def test_the_time_left_passes_while_a_process_has_the_run_and_ends_with_training(trial, monkeypatch):
    folder = make_run(trial, [{"step": 20, "epoch": 1, "seconds_left": 100.0, **PARSING}])
    (folder / "run.lock").touch()
    now = time.time()
    os.utime(folder / "metrics.jsonl", (now - 50, now - 50))
    os.utime(folder / "run.lock", (now - 500, now - 500))
    assert progress_of(trial).seconds_left == 100  # of a stopped run, when it resumes
    monkeypatch.setattr("app.study.trials.is_in_use", lambda folder: True)
    assert progress_of(trial).seconds_left == pytest.approx(50, abs=5)
    os.utime(folder / "run.lock", (now - 20, now - 20))  # it has just been resumed
    assert progress_of(trial).seconds_left == pytest.approx(80, abs=5)
    result = {"schema": 2, "status": "untested", "test": None, "primary_metric": LAS.to_dict()}
    (folder / "result.json").write_text(json.dumps(result))
    assert progress_of(trial) == Progress(epoch=1, score=90)  # it is tested
    (folder / "result.json").write_text(json.dumps({**result, "status": "finished", "test": {"las": 0.8}}))
    assert progress_of(trial) == Progress(epoch=1, score=80, split="test")


def test_the_run_of_a_trial_is_found_next_to_earlier_ones(trial):
    assert run_folder(trial) is None and progress_of(trial) == Progress()
    folder = make_run(trial, [])
    folder.with_name(f"{folder.name}.20260101-000000").mkdir()
    assert run_folder(trial) == folder


def test_the_run_of_a_trial_is_found_whatever_departs_from_its_seed(trial):
    departures = {"init": "4", "fold": "2of10", "train": "0.125"}
    folder = RunIdentity("x", "x", "x", trial.variant.norm, trial.seed, departures=departures).folder(trial.root)
    assert folder.name == "seed3-init4-fold2of10-train0.125"
    folder.with_name(f"{folder.name}.20260101-000000-2").mkdir(parents=True)
    assert run_folder(trial) is None
    folder.mkdir()
    assert run_folder(trial) == folder


def test_a_run_of_an_earlier_version_is_found_unless_there_is_a_newer_one(trial):
    earlier = trial.root / "translation/pairs" / trial.variant.norm.label / f"seed{trial.seed}"
    earlier.mkdir(parents=True)
    assert run_folder(trial) == earlier
    newer = make_run(trial, [])
    assert run_folder(trial) == newer


def test_the_run_is_found_where_its_config_chose_the_sites(trial):
    own = NormSpec.parse(
        {"name": "adanorm", "options": {"k": 0.2}, "sites": ["attention"]}
    )  # the study's norm says nothing of sites
    folder = RunIdentity("translation", "pairs", "mbart-3x256", own, trial.seed).folder(trial.root)
    folder.mkdir(parents=True)
    assert run_folder(trial) == folder


def test_a_line_of_a_users_callback_need_not_have_an_epoch(trial):
    make_run(trial, [{"step": 30, "epoch": 2, **PARSING}, {"step": 35, "lr-AdamW": 0.1}])
    assert progress_of(trial).epoch == 2


@pytest.mark.parametrize(
    ("status", "test", "state"),
    [
        ("finished", {"las": 0.9}, "finished"),
        ("finished", None, "untested"),  # as earlier versions left it
        ("untested", {"las": 0.8}, "untested"),  # with the scores of a shorter run
        ("stopped", None, "stopped"),
        ("diverged", None, "diverged"),
    ],
)
def test_a_trial_is_done_when_it_is_tested(trial, status, test, state):
    folder = make_run(trial, [])
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints/last.ckpt").touch()
    (folder / "result.json").write_text(json.dumps({"schema": 2, "status": status, "test": test}))
    assert state_of(trial, 0) == state and (result_of(trial) is None) == (state in ("untested", "stopped"))
