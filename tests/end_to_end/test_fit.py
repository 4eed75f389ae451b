"""train.py from one end to the other: the run folder, its files, test, and runs that go wrong."""

import csv
import dataclasses
import json

import pytest
import torch
import yaml

from app.metrics.info import ACCURACY
from app.runs.examples_file import FILE_NAME
from tests.conftest import only_run, read_result
from tests.example_scores import scores_of_examples

QUICK = "configs/quickstart.yaml"


@pytest.fixture
def short(tiny_texts):
    """Two epochs of a few updates on tiny text."""
    return [
        "--data.source", tiny_texts, "--trainer.max_epochs", 2, "--trainer.log_every_n_steps", 1,
        "--data.batch_tokens", 256, "--data.val_fraction", 0.1,
    ]  # fmt: skip


@pytest.fixture
def run(train, short, tmp_path):
    """The folder of a finished run."""
    assert train("fit", QUICK, *short) == 0
    return only_run(tmp_path / "runs")


def test_the_run_folder_holds_what_it_should(train, short, tmp_path):
    assert train("fit", QUICK, *short, "--plots", "true") == 0
    run = only_run(tmp_path / "runs")
    assert run == tmp_path / "runs/classification/rt/bert-4x128/adanorm(k=0.1,scale=1)/seed1"
    names = {path.name for path in run.iterdir()}
    assert names >= {
        "config.yaml", "run.json", "data_spec.json", "metrics.jsonl", "checkpoints", "norm_sites.csv", "curves.svg",
        "result.json", "tensorboard", FILE_NAME,
    }  # fmt: skip
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}

    result = read_result(run)
    steps = result["final"]["step"]
    named = "classification|rt|bert-4x128|adanorm(k=0.1,scale=1)|sites:all 9/9|seed:1"
    assert result["signature"] == f"{named}|steps:{steps}"
    assert set(result) == {
        "schema", "signature", "task", "dataset", "model", "norm", "placement", "seed", "seeds", "training", "status",
        "primary_metric", "best", "best_by_loss", "final", "test", "tested", "score_signatures", "gap", "cost",
        "versions", "data_fingerprint", "plan_fingerprint", "weights_fingerprint", "norm_gradients",
    }  # fmt: skip
    assert result["norm"] == {
        "name": "adanorm", "options": {"k": 0.1, "scale": 1.0}, "sites": "all", "replaced": 9, "total": 9,
        "left": [], "label": "adanorm(k=0.1,scale=1)",
    }  # fmt: skip
    assert result["primary_metric"] == {"mode": "max", **dataclasses.asdict(ACCURACY)}
    assert result["tested"] == "best checkpoint" and result["score_signatures"] == {}
    assert result["final"]["epoch"] == 2
    assert set(result["best"]) == {"epoch", "step", "val", "train_probe"}
    assert result["best_by_loss"]["val"]["loss"] == min(result[which]["val"]["loss"] for which in ("best", "final"))
    assert result["seeds"] == {"init": 1, "order": 1, "dropout": 1, "split": 0}
    assert result["cost"]["parameters"] > 0 and result["cost"]["tokens"] > 0

    with open(run / "norm_sites.csv", newline="") as file:
        sites = list(csv.DictReader(file))
    assert len(sites) == 9 and {site["old_class"] for site in sites} == {"LayerNorm"}
    assert (run / "curves.svg").read_text().lstrip().startswith("<?xml")


def test_metrics_have_one_line_a_step_and_the_gap_is_what_it_says(run):
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [event["step"] for event in events]
    assert steps == sorted(set(steps))
    assert all("train/loss" in event for event in events)
    validations = [event for event in events if "val/loss" in event]
    assert [event["epoch"] for event in validations] == [1, 2]
    for event in validations:
        assert event["gap/loss"] == event["val/loss"] - event["train_probe/loss"]
        assert event["gap/accuracy"] == event["train_probe/accuracy"] - event["val/accuracy"]


def test_the_summary_says_what_came_out(train, short, tmp_path, capsys):
    assert train("fit", QUICK, *short) == 0
    printed = capsys.readouterr().out
    for part in (
        "norms replaced: 9 of 9", "% padding", "epoch 2", "test ", "baselines ", "gap ", "files ", "next ",
        "2 classes in the training split: ", "baselines on the test split: accuracy_of_majority 0.",
    ):  # fmt: skip
        assert part in printed
    test = read_result(only_run(tmp_path / "runs"))["test"]
    assert test.keys() == {"loss", "accuracy", "accuracy_of_majority", "accuracy_of_naive_bayes"}
    not_beaten = [name for name in test if name.startswith("accuracy_of_") and test["accuracy"] <= test[name]]
    lines = [line for line in printed.splitlines() if "is not better than a baseline" in line]
    assert [line.split()[-2] for line in lines] == not_beaten != []
    assert "--norm layernorm" in printed.splitlines()[-1]


@pytest.mark.slow
def test_config_yaml_makes_the_same_run_again(run, train, tmp_path):
    first = read_result(run)
    assert train("fit", run / "config.yaml", "--run_root", tmp_path / "again") == 0
    second = read_result(only_run(tmp_path / "again"))
    for key in ("signature", "best", "final", "test", "data_fingerprint", "plan_fingerprint", "weights_fingerprint"):
        assert first[key] == second[key]


@pytest.mark.slow
def test_an_earlier_run_is_set_aside_not_lost(run, train, short, tmp_path):
    before = (run / "metrics.jsonl").read_bytes()
    assert train("fit", QUICK, *short) == 0
    (kept,) = [path for path in run.parent.iterdir() if path != run]
    assert (kept / "metrics.jsonl").read_bytes() == before


def test_test_scores_the_best_checkpoint_as_fit_did(run, train, capsys):
    expected = read_result(run)["test"]
    capsys.readouterr()
    checkpoint = run / "checkpoints/best.ckpt"
    assert train("test", run / "config.yaml", "--ckpt_path", checkpoint) == 0
    printed = capsys.readouterr().out
    scores = json.loads(printed[printed.index("{\n") :])
    assert scores == {f"test/{metric}": value for metric, value in expected.items()}


def test_counts_of_test_examples_sum_to_the_scores_and_are_added_where_they_are_missing(run, train):
    test, kept = read_result(run)["test"], (run / FILE_NAME).read_bytes()
    assert scores_of_examples(run) == {name: pytest.approx(test[name], rel=1e-14) for name in ("loss", "accuracy")}
    again = ["test", run / "config.yaml"]
    first = ["--data.batch_tokens=40", "--data.eval_batch_factor=1", "--trainer.limit_test_batches=1"]
    assert train(*again, *first) == 0
    assert (run / FILE_NAME).read_bytes() == kept, "of this test, which is not the recorded one"
    (run / FILE_NAME).unlink()
    assert train(*again, *first) == 0
    assert not (run / FILE_NAME).exists()
    assert train(*again) == 0
    assert (run / FILE_NAME).read_bytes() == kept


def test_divergence_is_recorded_and_has_its_own_exit_status(train, short, tmp_path, capsys):
    wild = ["--model.optimizer.lr", 1e30, "--model.optimizer.warmup_steps", 0, "--trainer.gradient_clip_val", "null"]
    assert train("fit", QUICK, *short, *wild, "--norm", "none") == 4
    result = read_result(only_run(tmp_path / "runs"))
    assert result["status"] == "diverged"
    assert "diverged" in capsys.readouterr().err


@pytest.mark.slow
def test_patience_ends_the_run(train, short, tmp_path):
    frozen = ["--model.optimizer.lr", 1e-30, "--trainer.max_epochs", 6, "--patience", 2]
    assert train("fit", QUICK, *short, *frozen) == 0
    assert read_result(only_run(tmp_path / "runs"))["final"]["epoch"] == 3


def test_the_best_checkpoint_is_of_the_best_epoch_and_the_last_of_the_last(run):
    result = read_result(run)
    for which in ("best", "last"):
        checkpoint = torch.load(run / f"checkpoints/{which}.ckpt", weights_only=True)
        assert checkpoint["global_step"] == result["final" if which == "last" else which]["step"]


def test_norm_in_short_and_long_form(train, short, tmp_path):
    short = [*short, "--trainer.fast_dev_run", "true"]
    assert train("fit", QUICK, *short, "--norm", "adanorm", "--norm.options.scale", "2") == 0
    assert train("fit", QUICK, *short, "--norm.name", "layernorm", "--norm.sites", "[layer.0, layer.1]") == 0


def test_another_norm_drops_the_options_of_the_files_one(train, short, tmp_path):
    layer = tmp_path / "layer.yaml"
    layer.write_text(yaml.safe_dump({"norm": {"name": "adanorm", "options": {"k": 0.2}}}))
    arguments = [*short, "--config", layer, "--trainer.limit_train_batches", 1, "--test_after_fit", "false"]
    assert train("fit", QUICK, *arguments) == 0
    assert train("fit", QUICK, *arguments, "--norm", "layernorm_simple") == 0
    names = {path.parent.parent.name for path in (tmp_path / "runs").rglob("result.json")}
    assert names == {"adanorm(k=0.2,scale=1)", "layernorm_simple"}


def test_a_run_ended_by_max_steps_has_scores(train, short, tmp_path):
    assert train("fit", QUICK, *short, "--trainer.max_steps", 2) == 0
    result = read_result(only_run(tmp_path / "runs"))
    assert result["final"]["step"] == 2 and result["test"] is not None


@pytest.mark.slow
def test_a_checkpoint_of_another_width_is_answered(run, train, capsys):
    width = ["--model.backbone.options.hidden_size", 64, "--ckpt_path", run / "checkpoints/best.ckpt"]
    assert train("test", run / "config.yaml", *width) == 2
    assert "hidden_size=128" in capsys.readouterr().err
