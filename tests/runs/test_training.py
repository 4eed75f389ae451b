"""What result.json says of the training tells unlike runs apart, and takes runs for alike that only look different."""

import copy
import tomllib

import pytest
import torch
from pytorch_lightning import Trainer

from app.installation import app_version
from app.runs import training
from app.runs.training import seeds, training_settings
from tests.conftest import ROOT

SETTINGS = {  # as config.yaml has them
    "seed_everything": 3,
    "trainer": {
        "accelerator": "cpu", "devices": 1, "strategy": "auto", "precision": None, "limit_train_batches": None,
        "gradient_clip_val": 1.0, "max_epochs": 5, "max_steps": -1, "log_every_n_steps": 20, "callbacks": None,
        "logger": None,
    },
    "model": {"class_path": "app.tasks.Classification", "init_args": {"optimizer": {"lr": 3e-4, "betas": [0.9, 0.99]}}},
    "data": {
        "class_path": "app.datamodules.TextClassificationData",
        "init_args": {"source": "a.csv", "split_seed": 7, "batch_tokens": 1536, "workers": 0, "cache_dir": "cache"},
    },
    "patience": None, "average_checkpoints": None, "compile": False, "run_root": "runs",
}  # fmt: skip


def recorded(**changes):
    """The mapping of a run whose settings differ from `SETTINGS` by dotted names, a dot being two underscores."""
    settings = copy.deepcopy(SETTINGS)
    for name, value in changes.items():
        *groups, key = name.split("__")
        at = settings
        for group in groups:
            at = at[group]
        at[key] = value
    given = {key: value for key, value in settings["trainer"].items() if key != "callbacks"}
    return training_settings(settings, Trainer(**given, enable_progress_bar=False, enable_model_summary=False))


def differing(one, other):
    return {name for name in one | other if one.get(name) != other.get(name)}


@pytest.mark.parametrize(
    ("change", "value", "name"),
    [
        ("trainer__limit_train_batches", 0.05, "trainer.limit_train_batches"),
        ("trainer__gradient_clip_val", None, "trainer.gradient_clip_val"),  # as configs/base.yaml may set it
        ("trainer__precision", "bf16-mixed", "trainer.precision"),
        ("model__init_args__optimizer__lr", 1e-3, "model.optimizer.lr"),
        ("data__init_args__batch_tokens", 99, "data.batch_tokens"),
        ("patience", 2, "patience"),
        ("trainer__callbacks", [{"class_path": "mine.Freeze", "init_args": {"until": 5}}],
         "trainer.callbacks.Freeze.until"),
    ],
)  # fmt: skip
def test_a_setting_that_decides_what_is_trained_is_in_it(change, value, name):
    assert differing(recorded(), recorded(**{change: value})) == {name}


def test_versions_and_device_are_in_it(monkeypatch):
    before = recorded()
    assert (before["device"], before["processes"], before["strategy"]) == ("cpu", 1, "SingleDeviceStrategy")
    assert before["versions.torch"] == torch.__version__
    assert before["versions.app"] == app_version()
    assert app_version() == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    versions = {"app": "9", "torch": torch.__version__, "transformers": before["versions.transformers"]}
    monkeypatch.setattr(training, "package_versions", lambda: versions)
    assert differing(before, recorded()) == {"versions.app"}
    gpu = Trainer(accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, enable_model_summary=False)
    monkeypatch.setattr(type(gpu.strategy), "root_device", torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    assert training_settings(SETTINGS, gpu)["device"] == "a GPU"


def test_what_changes_no_update_is_not_in_it():
    same = recorded(
        trainer__log_every_n_steps=1, trainer__logger=False, trainer__precision="32-true", run_root="elsewhere",
        trainer__limit_train_batches=1.0, data__init_args__workers=2, data__init_args__cache_dir="other",
        data__init_args__source="copy.csv", data__init_args__split_seed=8, seed_everything=4,
    )  # fmt: skip
    assert differing(recorded(), same) == set()


def test_seeds_are_that_of_everything_unless_they_are_set():
    assert seeds(SETTINGS) == {"init": 3, "order": 3, "dropout": 3, "split": 7}
    own = {**SETTINGS, "order_seed": 0, "dropout_seed": None}
    assert seeds(own) == {"init": 3, "order": 0, "dropout": 3, "split": 7}
