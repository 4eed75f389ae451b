"""What a run that resumes may change, and what it may not: the table of docs/distributed_and_resuming.md."""

import shutil

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from app.callbacks import EventFiles
from app.cli.main import main
from app.runs.metrics_file import read_events
from tests.conftest import ROOT, only_run
from tests.exactness.cases import CASES

CASE = CASES["classification"]
CONSTANT = ["--model.optimizer.schedule=constant", "--model.optimizer.warmup_steps=2"]
LINEAR = ["--model.optimizer.schedule=linear", "--model.optimizer.warmup_steps=2"]


@pytest.fixture(scope="module")
def fit(tiny_texts, tmp_path_factory):
    """Call fit for one epoch, unless told otherwise, with a root for its run."""
    cache = tmp_path_factory.mktemp("cache")

    def call(root, *arguments):
        settings = ["--config", str(ROOT / CASE.config), *CASE.arguments(tiny_texts), "--trainer.max_epochs=1"]
        places = [f"--data.cache_dir={cache}", f"--run_root={root}", "--test_after_fit=false"]
        return main(["fit", *settings, *places, *arguments])

    return call


@pytest.fixture(scope="module")
def root(fit, tmp_path_factory):
    """The root of a run of one epoch with the schedule that ends with the run."""
    root = tmp_path_factory.mktemp("linear")
    assert fit(root, *LINEAR, "--patience=3") == 0
    return root


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            ["--model.optimizer.lr=0.05", "--model.optimizer.name=adam", "--model.optimizer.betas=[0.8, 0.9]"],
            ["optimizer.lr was 0.0003 and is 0.05", "name was adamw and is adam", "betas was [0.9, 0.999] and is [0.8"],
        ),
        (
            ["--model.optimizer.schedule=cosine", "--model.classifier_dropout=0.2"],
            ["model.optimizer.schedule was linear and is cosine", "model.classifier_dropout was 0.3 and is 0.2"],
        ),
        (["--model.backbone.options.hidden_dropout_prob=0.2"], ["hidden_dropout_prob=0.3", "hidden_dropout_prob=0.2"]),
        (
            ["--data.batch_tokens=150", "--data.max_length=5", "--data.workers=1"],
            ["data.batch_tokens was 200 and is 150", "data.max_length was 64 and is 5"],
        ),
        (
            ["--trainer.accumulate_grad_batches=2", "--trainer.precision=bf16-mixed", "--trainer.gradient_clip_val=9"],
            ["batches was 1 and is 2", "precision was 32-true and is bf16-mixed", "clip_val was 1.0 and is 9"],
        ),
        (["--trainer.max_epochs=4"], ["trainer.max_epochs was 1 and is 4", "learning rate", "length of the run"]),
        (["--trainer.max_epochs=-1", "--trainer.max_steps=30"], ["max_epochs was 1 and is -1", "max_steps was -1"]),
    ],
    ids=lambda value: value[0],
)
def test_what_makes_the_run_what_it_is_cannot_change(root, fit, change, says, capsys):
    run = only_run(root)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert fit(root, *LINEAR, "--patience=3", "--ckpt_path=last", *change) == 2
    answer = capsys.readouterr().err
    assert answer.count("\n") == 1 and "Traceback" not in answer
    for words in says:
        assert words in answer
    assert "workers" not in answer
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "change",
    [["--norm", "layernorm"], ["--seed_everything", "9"], ["--dropout_seed", "9"], ["--data.train_fraction", "0.5"]],
    ids=" ".join,
)
def test_a_checkpoint_of_another_run_is_refused_by_path(root, fit, change, capsys):
    checkpoint = only_run(root) / "checkpoints/last.ckpt"
    assert fit(root, *LINEAR, *change, "--ckpt_path", str(checkpoint)) == 2
    assert "the checkpoint" in capsys.readouterr().err.splitlines()[-1]


def test_what_may_change_is_applied_and_recorded(fit, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    watched = ["--trainer.callbacks+=pytorch_lightning.callbacks.LearningRateMonitor"]
    assert fit(whole, *CONSTANT, "--patience=4", "--trainer.max_epochs=3") == 0
    assert fit(parts, *CONSTANT, "--patience=3") == 0
    lost = EventFiles(only_run(parts))  # as a kill after some more steps leaves it
    for step in (6, 7, 99):
        lost.log_metrics({"train/loss": 0.0, "val/loss": 0.0}, step)
    lost.finalize("success")
    moved = shutil.move(parts, tmp_path / "moved")
    longer = ["--trainer.max_epochs=3", "--patience=4", "--data.workers=1", "--data.eval_batch_factor=2", *watched]
    assert fit(moved, *CONSTANT, "--ckpt_path=last", *longer) == 0
    weights = [torch.load(only_run(root) / "checkpoints/last.ckpt", weights_only=True) for root in (whole, moved)]
    for name, weight in weights[0]["state_dict"].items():
        assert torch.equal(weight, weights[1]["state_dict"][name]), name
    rates = [
        {event["step"]: event["lr"] for event in read_events(only_run(root)) if "lr" in event}
        for root in (whole, moved)
    ]
    assert rates[0] == rates[1]
    drawn = EventAccumulator(str(only_run(moved) / "tensorboard")).Reload()
    for key in ("train/loss", "val/loss", "lr"):
        kept = [(event["step"], pytest.approx(event[key])) for event in read_events(only_run(moved)) if key in event]
        assert [(scalar.step, scalar.value) for scalar in drawn.Scalars(key)] == kept
    (stopper,) = (state for key, state in weights[1]["callbacks"].items() if "StopEarly" in key)
    settings = yaml.safe_load((only_run(moved) / "config.yaml").read_text())
    assert stopper["patience"] == settings["patience"] == 4
    assert settings["trainer"]["max_epochs"] == 3 and settings["data"]["init_args"]["workers"] == 1


def test_a_callback_whose_state_is_restored_keeps_its_arguments(fit, tmp_path, capsys):
    patient = ["--trainer.callbacks+=pytorch_lightning.callbacks.EarlyStopping", "--trainer.callbacks.monitor=val/loss"]
    assert fit(tmp_path, *CONSTANT, *patient) == 0
    changed = [*patient, "--trainer.callbacks.patience=7", "--trainer.max_epochs=2", "--ckpt_path=last"]
    assert fit(tmp_path, *CONSTANT, *changed) == 2
    assert "trainer.callbacks.EarlyStopping.patience was 3 and is 7" in capsys.readouterr().err
