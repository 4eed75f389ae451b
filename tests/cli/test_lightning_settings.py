"""Every setting of Lightning's Trainer, and every callback of Lightning, does what docs/lightning.md says of it."""

import inspect
import re
from pathlib import Path

import pytest
import pytorch_lightning
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from app.cli.main import main
from app.cli.user_callbacks import check_user_callbacks
from app.errors import InputError
from tests.conftest import ROOT
from tests.exactness.cases import CASES

PAGE = (ROOT / "docs/lightning.md").read_text(encoding="utf-8")
TABLE = {
    name: verdict
    for names, verdict in re.findall(r"^\| (`.*?) \| (\w.*?) \|", PAGE, re.MULTILINE)
    for name in re.findall(r"`(\w+)`", names)
}
CASE = CASES["classification"]
CALLBACKS = "--trainer.callbacks+=pytorch_lightning.callbacks."
CHANGING = {  # settings that change what is trained, each alone: an epoch has five batches of the sizes of the plan
    "accumulate_grad_batches": ["--trainer.accumulate_grad_batches=2"],
    "accumulate_grad_batches above": ["--trainer.accumulate_grad_batches=50"],
    "gradient_clip_val gradient_clip_algorithm": [
        "--trainer.gradient_clip_algorithm=value", "--trainer.gradient_clip_val=0.0001",
    ],
    "limit_train_batches": ["--trainer.limit_train_batches=3", "--trainer.accumulate_grad_batches=2"],
    "limit_train_batches reload_dataloaders_every_n_epochs": [
        "--trainer.limit_train_batches=0.6", "--trainer.accumulate_grad_batches=2",
        "--trainer.reload_dataloaders_every_n_epochs=1",
    ],
    "max_epochs": ["--trainer.max_epochs=1"],
    "max_steps": ["--trainer.max_steps=7", "--trainer.max_epochs=-1"],
    "val_check_interval": ["--trainer.val_check_interval=2", "--trainer.accumulate_grad_batches=2"],
    "fast_dev_run": ["--trainer.fast_dev_run=3"],
}  # fmt: skip
HARMLESS = [  # all in one run
    "--trainer.num_sanity_val_steps=1", "--trainer.detect_anomaly=true", "--trainer.deterministic=false",
    "--trainer.benchmark=false", "--trainer.inference_mode=false", "--trainer.profiler=simple",
    "--trainer.log_every_n_steps=1", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=true",
    "--trainer.enable_autolog_hparams=false", "--trainer.model_registry=mine", "--trainer.min_epochs=1",
    "--trainer.min_steps=1", "--trainer.max_time=01:00:00:00", "--trainer.limit_val_batches=1",
    "--trainer.limit_test_batches=1", "--trainer.check_val_every_n_epoch=2", "--trainer.enable_checkpointing=true",
    "--trainer.devices=1", "--trainer.num_nodes=1", "--trainer.strategy=auto", "--trainer.accelerator=cpu",
    "--trainer.sync_batchnorm=false", "--trainer.precision=32-true", "--trainer.logger=true", "--trainer.plugins=[]",
    f"{CALLBACKS}LearningRateMonitor", f"{CALLBACKS}SpikeDetection", f"{CALLBACKS}DeviceStatsMonitor",
    f"{CALLBACKS}ModelSummary", f"{CALLBACKS}ModelCheckpoint", "--trainer.callbacks.dirpath=mine",
    f"{CALLBACKS}EarlyStopping", "--trainer.callbacks.monitor=val/loss",
]  # fmt: skip
DISPLAYS = {"LambdaCallback", "ThroughputMonitor", "RichModelSummary", "RichProgressBar", "TQDMProgressBar"}
REFUSED = {
    "overfit_batches": ["--trainer.overfit_batches=2"],
    "use_distributed_sampler": ["--trainer.use_distributed_sampler=true"],
    "default_root_dir": ["--trainer.default_root_dir=x"],
    "barebones": ["--trainer.barebones=true"],
    "GradientAccumulationScheduler": [
        f"{CALLBACKS}GradientAccumulationScheduler", "--trainer.callbacks.scheduling={0: 2}",
    ],
}  # fmt: skip
REFUSED_CALLBACKS = {
    "StochasticWeightAveraging": {"swa_lrs": 0.1}, "WeightAveraging": {}, "EMAWeightAveraging": {},
    "LearningRateFinder": {}, "BatchSizeFinder": {}, "BaseFinetuning": {}, "BackboneFinetuning": {},
    "ModelPruning": {"pruning_fn": "l1_unstructured"}, "OnExceptionCheckpoint": {"dirpath": "mine"},
    "Timer": {"duration": "00:01:00:00"},
}  # fmt: skip


class WatchUpdates(Callback):
    """Compares each update's gradient with that of the mean loss over the batches since the last update."""

    updates = 0
    largest = 0.0  # value of a gradient after clipping
    rate = -1.0  # learning rate after the last update

    def __init__(self):
        type(self).updates, self.batches = 0, []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.batches.append(batch)

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        losses = [pl_module.train_loss(batch) for batch in self.batches]
        loss = sum(loss.objective for loss in losses) / sum(loss.units for loss in losses)
        parameters = [p for p in pl_module.parameters() if p.grad is not None]
        for parameter, wanted in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            tolerance = 1e-12 if wanted.dtype == torch.float64 else 1e-5
            torch.testing.assert_close(parameter.grad, wanted, rtol=tolerance, atol=tolerance)
        self.batches = []
        type(self).updates += 1

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        found = [float(p.grad.abs().max()) for p in pl_module.parameters() if p.grad is not None]
        type(self).largest = max(found, default=0.0)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        type(self).rate = trainer.optimizers[0].param_groups[0]["lr"]


@pytest.fixture
def fit(tiny_texts, tmp_path, tmp_path_factory, monkeypatch):
    """Call fit for two epochs in float64, without dropout, by the schedule that ends with the run."""
    monkeypatch.chdir(tmp_path)
    cache = tmp_path_factory.getbasetemp() / "lightning_settings"

    def call(*arguments):
        settings = [*CASE.arguments(tiny_texts), *CASE.no_dropout, "--trainer.max_epochs=2", "--test_after_fit=false"]
        settings += ["--trainer.precision=64-true", "--trainer.gradient_clip_val=null", f"--data.cache_dir={cache}"]
        settings += ["--model.optimizer.warmup_steps=1", "--norm_diagnostics_every_n_steps=null"]
        return main(["fit", "--config", str(ROOT / CASE.config), *settings, *arguments])

    return call


def test_the_table_has_every_setting_and_every_callback():
    settings = set(inspect.signature(Trainer.__init__).parameters) - {"self"}
    bases = {"Callback", "Checkpoint", "ProgressBar", "BasePredictionWriter"}
    assert set(TABLE) == settings | set(pytorch_lightning.callbacks.__all__) - bases
    tried = {re.search(r"callbacks\.(\w+)$|trainer\.(\w+)=", argument) for argument in HARMLESS}
    tried = {found[1] or found[2] for found in tried if found} | DISPLAYS | {"callbacks"}
    kept = {name for name, verdict in TABLE.items() if verdict == "kept"}
    assert kept == {name for names in CHANGING for name in names.split() if name != "above"} | tried
    assert {name for name, verdict in TABLE.items() if verdict == "refused"} == {*REFUSED, *REFUSED_CALLBACKS}
    assert {name for name, verdict in TABLE.items() if verdict == "refused by predict"} == {"limit_predict_batches"}


@pytest.mark.parametrize("name", CHANGING)
def test_no_gradient_is_scaled_wrong_and_the_schedule_ends_with_the_run(name, fit, capsys):
    arguments = CHANGING[name]
    assert fit(f"--trainer.callbacks+={__name__}.WatchUpdates", *arguments) == 0
    said = capsys.readouterr().out
    settings = dict(argument.removeprefix("--trainer.").split("=") for argument in arguments)
    limit = {"3": 3, "0.6": 3}.get(settings.get("limit_train_batches"), 5)
    an_epoch = -(-limit // int(settings.get("accumulate_grad_batches", 1)))
    known = {"max_steps": 7, "fast_dev_run": 3, "max_epochs": an_epoch}
    assert WatchUpdates.updates == next((count for key, count in known.items() if key == name), 2 * an_epoch)
    assert WatchUpdates.rate == 0
    assert ("an epoch has 5 batches: each update is made of these" in said) == name.endswith("above")
    if "gradient_clip_algorithm" in settings:
        assert WatchUpdates.largest == float(settings["gradient_clip_val"])


def test_what_watches_changes_nothing(fit, capsys):
    assert fit("--trainer.precision=32-true", "--run_root=plain") == 0
    assert fit("--run_root=watched", *HARMLESS) == 0
    said = capsys.readouterr().out
    assert "trainer.limit_val_batches is 1: validation scores are of the first batches only" in said
    assert "trainer.limit_test_batches is 1: test scores are of the first batches only" in said
    plain, watched = (
        torch.load(next((Path(root)).rglob("last.ckpt")), weights_only=True)["state_dict"]
        for root in ("plain", "watched")
    )
    assert all(torch.equal(weight, watched[name]) for name, weight in plain.items())


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_right_is_refused_in_a_line(name, fit, tmp_path, capsys):
    assert fit(*REFUSED[name]) == 2
    answer = capsys.readouterr().err
    assert answer.startswith("error: trainer.") and name in answer and "cannot be honoured" in answer
    assert answer.count("\n") == 1 and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", REFUSED_CALLBACKS)
def test_a_callback_that_changes_what_an_update_is_is_refused(name):
    callback = getattr(pytorch_lightning.callbacks, name)(**REFUSED_CALLBACKS[name])
    with pytest.raises(InputError, match=f"trainer.callbacks has {name}, which cannot be honoured: .*; "):
        check_user_callbacks([callback], ["val/loss"])


def test_what_is_monitored_is_known_before_the_first_step(fit, tmp_path, capsys):
    assert fit(f"{CALLBACKS}EarlyStopping", "--trainer.callbacks.monitor=val_loss") == 2
    answer = capsys.readouterr().err
    assert answer.count("\n") == 1 and not (tmp_path / "runs").exists()
    assert "EarlyStopping with monitor 'val_loss', which is not logged; did you mean 'val/loss'?" in answer
    assert "allowed: val/loss, val/accuracy, train_probe/loss, train_probe/accuracy" in answer


def test_a_monitor_has_to_be_logged_and_to_have_its_own_direction():
    names = ["val/loss", "val/accuracy"]
    check_user_callbacks([EarlyStopping("val/loss"), ModelCheckpoint(monitor="val/accuracy", mode="max")], names)
    check_user_callbacks([WatchUpdates(), EarlyStopping("mine")], names)  # one of the user's own may log it
    with pytest.raises(InputError, match="ModelCheckpoint with monitor 'mine', which is not logged"):
        check_user_callbacks([ModelCheckpoint(monitor="mine")], names)
    with pytest.raises(InputError, match="EarlyStopping with monitor 'val/accuracy' and mode 'min', .*mode to max"):
        check_user_callbacks([EarlyStopping("val/accuracy")], names)
