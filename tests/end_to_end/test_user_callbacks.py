"""Loggers and callbacks that a user gives are added to ours; what cannot be honoured is refused in a line."""

import csv
import json

import pytest
import torch
import yaml
from pytorch_lightning import Callback, LightningModule, Trainer

from app.callbacks import NormGradients
from app.norms import build_norm
from app.runs.metrics_file import MetricsFile, read_events
from tests.conftest import only_run

QUICKSTART = "configs/quickstart.yaml"
QUICK = (
    "--trainer.max_epochs=2",
    "--trainer.limit_train_batches=2",
    "--trainer.log_every_n_steps=1",
    "--data.batch_tokens=300",
)


class Counter(Callback):
    """Counts the updates of a fit; what a user would write."""

    updates = 0

    def on_train_batch_end(self, *_):
        type(self).updates += 1

    def on_fit_end(self, trainer, pl_module):
        files = trainer.checkpoint_callback
        assert files.best_model_path.endswith("best.ckpt") and files.last_model_path.endswith("last.ckpt")

    def summary(self, events, result):
        return {"counted": self.updates, "seen": [events[-1]["step"], result["best"]["step"]]}

    def draw(self, events, result, folder):
        (folder / "count.txt").write_text(result["signature"])


def fit(train, source, tmp_path, trainer, *arguments):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"trainer": trainer}))
    mine = ["--config=mine.yaml", f"--data.source={source}", "--data.val_fraction=0.1", *QUICK, *arguments]
    return train("fit", QUICKSTART, *mine)


def test_a_users_logger_gets_the_settings_and_every_metric(train, tiny_texts, tmp_path):
    logger = {"class_path": "pytorch_lightning.loggers.CSVLogger", "init_args": {"save_dir": "mine", "name": "csv"}}
    assert fit(train, tiny_texts, tmp_path, {"logger": [logger]}) == 0
    run = only_run(tmp_path / "runs")
    (folder,) = (tmp_path / "mine/csv").iterdir()
    settings = yaml.safe_load((folder / "hparams.yaml").read_text())
    assert settings["seed_everything"] == 1 and settings["norm"]["name"] == "adanorm"
    rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    for event in read_events(run):
        for key, value in event.items():
            given = [row[key] for row in rows if int(row["step"]) == event["step"] and row[key]]
            assert value is None or float(given[-1]) == pytest.approx(value), key
    assert json.loads((run / "result.json").read_text())["test"]["loss"] == pytest.approx(
        float(next(row["test/loss"] for row in rows if row.get("test/loss")))
    )
    assert list((run / "tensorboard").iterdir())


def test_a_users_callbacks_are_added_and_one_of_ours_is_replaced(train, tiny_texts, tmp_path, capsys):
    Counter.updates = 0
    own = {"class_path": f"{__name__}.Counter"}
    quick = {"class_path": "app.callbacks.ProgressLines", "init_args": {"every_s": 0.0}}
    assert fit(train, tiny_texts, tmp_path, {"callbacks": [own, quick]}, "--plots=true") == 0
    assert Counter.updates == 4
    run = only_run(tmp_path / "runs")
    assert any("gap/loss" in event for event in read_events(run))
    said = capsys.readouterr().out
    assert said.count("epoch 1  step 2  ") == 1 and "batch 1/2  step 1" in said  # lines once, as often as asked for
    for line in ("validating  batch 1/2  [0:00 left]", "testing best.ckpt, batches: 1", "testing  batch 1/1  ["):
        assert f"\n{line}" in said
    result = json.loads((run / "result.json").read_text())
    assert result["gap"]["best"] and result["counted"] == 4 and result["seen"] == [4, result["best"]["step"]]
    assert (run / "count.txt").read_text() == result["signature"]


@pytest.mark.parametrize(
    ("setting", "remedy"),
    [
        ({"logger": False}, "remove it"),
        ({"default_root_dir": "elsewhere"}, "--run_root"),
        ({"enable_checkpointing": False}, "remove it"),
        ({"use_distributed_sampler": True}, "false"),
    ],
)
def test_what_cannot_be_honoured_is_refused_in_a_line(setting, remedy, train, tiny_texts, tmp_path, capsys):
    assert fit(train, tiny_texts, tmp_path, setting) == 2
    said = capsys.readouterr().err
    (key,) = setting
    assert said.startswith(f"error: trainer.{key} is ") and remedy in said and said.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_one_command_serves_a_first_start_and_a_restart(train, tiny_texts, tmp_path, capsys):
    command = ["--ckpt_path=last", "--model.optimizer.schedule=constant"]
    assert fit(train, tiny_texts, tmp_path, {}, *command) == 0
    assert "no checkpoint in " in (said := capsys.readouterr().out) and "starting from the beginning" in said
    first = read_events(only_run(tmp_path / "runs"))
    run = only_run(tmp_path / "runs").relative_to(tmp_path)
    assert fit(train, tiny_texts, tmp_path, {}, *command, "--trainer.max_epochs=3") == 0
    assert "starting from the beginning" not in (said := capsys.readouterr().out)
    assert f"\nresuming from {run}/checkpoints/last.ckpt, written in epoch 2 after step 4\n" in said
    (run,) = (path.parent for path in (tmp_path / "runs").rglob("result.json"))
    assert read_events(run)[: len(first) - 1] == first[:-1] and read_events(run)[-1]["epoch"] == 3


def test_a_run_killed_before_its_first_checkpoint_starts_again_by_the_same_command(train, tiny_texts, tmp_path, capsys):
    assert fit(train, tiny_texts, tmp_path, {}, "--ckpt_path=last") == 0
    run = only_run(tmp_path / "runs")
    untouched = [{k: v for k, v in e.items() if k.startswith(("val/", "train/"))} for e in read_events(run)]
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    (run / "result.json").unlink()
    assert fit(train, tiny_texts, tmp_path, {}, "--ckpt_path=last") == 0
    said = capsys.readouterr().out
    assert "starting from the beginning" in said and "to resume a run" not in said
    again = read_events(only_run(tmp_path / "runs"))
    assert [{k: v for k, v in e.items() if k.startswith(("val/", "train/"))} for e in again] == untouched


def test_a_run_with_a_users_callbacks_is_tested_and_applied_like_any_other(train, tiny_texts, tmp_path, capsys):
    checkpoints = {"class_path": "pytorch_lightning.callbacks.ModelCheckpoint", "init_args": {"dirpath": "mine"}}
    lines, bar = (
        {"class_path": "app.callbacks.MetricLines"},
        {"class_path": "pytorch_lightning.callbacks.TQDMProgressBar"},
    )
    settings = {"callbacks": [checkpoints, lines, bar], "enable_progress_bar": True}
    assert fit(train, tiny_texts, tmp_path, settings) == 0
    run = only_run(tmp_path / "runs")
    assert json.loads((run / "result.json").read_text())["cost"]["tokens"] > 0
    assert list((tmp_path / "mine").glob("*.ckpt"))
    assert train("test", run / "config.yaml") == 0
    (tmp_path / "new.txt").write_text("a warm funny film\n")
    capsys.readouterr()
    assert train("predict", run / "config.yaml", "--data.predict_source=new.txt") == 0
    assert json.loads(capsys.readouterr().out)["label"]  # nothing but the answer


class Plain(LightningModule):
    """A module of somebody else, with one of our norms."""

    def __init__(self):
        super().__init__()
        self.into, self.norm, self.out = torch.nn.Linear(6, 6), build_norm("layernorm", 6), torch.nn.Linear(6, 1)

    def training_step(self, batch, _):
        return self.out(self.norm(self.into(batch))).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore")  # Lightning's advice on loaders
def test_the_norm_diagnostics_serve_any_module(tmp_path):
    loader = torch.utils.data.DataLoader(torch.randn(8, 6), batch_size=4)
    Trainer(
        max_epochs=1, logger=[MetricsFile(tmp_path)], callbacks=[NormGradients(1)], accelerator="cpu",
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    ).fit(Plain(), loader)  # fmt: skip
    events = read_events(tmp_path)
    assert len(events) == 2
    for event in events:
        assert event["norm_grad/tokens/norm"] == 4 and event["norm_grad/mean_violation/norm"] < 1e-5
