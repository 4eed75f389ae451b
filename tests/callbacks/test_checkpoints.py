"""What RunCheckpoint keeps and drops."""

import signal
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from app.callbacks import RunCheckpoint
from app.errors import InputError
from app.errors.stop_signals import until_stopped
from app.runs.folder import kept_weights, weights_name
from tests.exactness.killer import SignalAt


def trainer(folder, step=0):
    epoch_loop = SimpleNamespace(restarting=False)
    return SimpleNamespace(
        fit_loop=SimpleNamespace(epoch_loop=epoch_loop),
        is_global_zero=True, default_root_dir=str(folder), global_step=step, sanity_checking=False,
        state=SimpleNamespace(fn="fit"), fast_dev_run=False,
    )  # fmt: skip


def test_a_run_that_goes_on_drops_weights_of_steps_that_it_makes_again(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for step in (90, 600, 1000, 20000):
        (tmp_path / "checkpoints" / weights_name(step)).touch()
    callback = RunCheckpoint("val/bleu", "max", keep_weights=3)
    callback.on_train_start(trainer(tmp_path, step=600), None)
    callback.teardown(None, None, "fit")
    assert [path.name for path in kept_weights(tmp_path / "checkpoints")] == [weights_name(90), weights_name(600)]


def test_a_validation_without_the_score_that_chooses_the_best_is_answered(tmp_path):
    task = SimpleNamespace(scores={"val/loss": 1.0})
    with pytest.raises(InputError, match="gave no val/bleu.*fraction"):
        RunCheckpoint("val/bleu", "max").on_validation_end(trainer(tmp_path), task)


class Tiny(LightningModule):
    """A weight that each batch moves, and whose score is how far it is."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.zeros_(self.layer.weight)
        self.scores = {}

    def training_step(self, batch, batch_idx):
        return -self.layer(batch).mean()

    def validation_step(self, batch, batch_idx):
        self.scores = {"val/far": float(self.layer.weight.detach())}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


def fit(folder, *callbacks, **settings):
    """Train on five batches an epoch; return the module and the steps at which it was validated."""
    watch, validated = Callback(), []
    watch.on_validation_end = lambda trainer, _: trainer.sanity_checking or validated.append(trainer.global_step)
    loader = DataLoader(torch.ones(5, 1))
    module, checkpoint = Tiny(), settings.pop("ckpt_path", None)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    Trainer(
        default_root_dir=folder, callbacks=[RunCheckpoint("val/far", "max"), watch, *callbacks], **quiet, **settings
    ).fit(module, loader, loader, ckpt_path=checkpoint, weights_only=True)
    return module, validated


class StopAt(Callback):
    """Tells the trainer to stop in the first call of a hook, once the number of steps has been made."""

    def __init__(self, hook, step):
        def stop(trainer, *_):
            trainer.should_stop = trainer.should_stop or trainer.global_step == step

        setattr(self, hook, stop)


ENDS = {
    "epochs, of which some are validated": ({"max_epochs": 5, "check_val_every_n_epoch": 3}, [15, 25]),
    "epochs, of which none would be validated": ({"max_epochs": 2, "check_val_every_n_epoch": 10}, [10]),
    "steps": ({"max_steps": 7, "check_val_every_n_epoch": 3}, [7]),
    "steps between two validations": ({"max_steps": 9, "val_check_interval": 4}, [4, 9]),
    "batches left after the last validation": ({"max_epochs": 2, "val_check_interval": 4}, [4, 9, 10]),
    "validated by steps": ({"max_epochs": 3, "val_check_interval": 4, "check_val_every_n_epoch": None}, [4, 8, 12, 15]),
    "validated as always": ({"max_epochs": 2}, [5, 10]),
    "time": ({"max_time": {"microseconds": 1}, "check_val_every_n_epoch": 3}, [1]),
    "time, within an update": ({"max_time": {"microseconds": 1}, "accumulate_grad_batches": 2}, [1]),
    "a callback, within an epoch": ({"callback": ("on_train_batch_end", 8), "check_val_every_n_epoch": 3}, [8]),
    "a callback, after an epoch": ({"callback": ("on_train_epoch_end", 10), "check_val_every_n_epoch": 3}, [10]),
    "a callback, but not yet": ({"callback": ("on_train_batch_end", 3), "min_epochs": 2, "max_epochs": 4}, [5, 10]),
}  # fmt: skip


@pytest.mark.parametrize(("settings", "steps"), ENDS.values(), ids=ENDS)
@pytest.mark.filterwarnings("ignore")  # Lightning's, which train.py silences
def test_however_a_fit_ends_its_last_step_is_validated_and_kept(settings, steps, tmp_path):
    settings = {"max_epochs": 9, **settings}
    callbacks = [StopAt(*settings.pop("callback"))] if "callback" in settings else []
    module, validated = fit(tmp_path, *callbacks, **settings)
    assert validated == steps
    for name in ("best", "last"):  # each step raises the score
        kept = torch.load(tmp_path / f"checkpoints/{name}.ckpt", weights_only=True)
        assert kept["global_step"] == steps[-1]
        assert torch.equal(kept["state_dict"]["layer.weight"], module.layer.weight)
    if not callbacks:  # started again, it has nothing to do
        assert fit(tmp_path, ckpt_path=tmp_path / "checkpoints/last.ckpt", **settings)[1] == []
    ends = ("max_epochs", "max_steps", "max_time", "min_epochs")
    schedule = {name: value for name, value in settings.items() if name not in ends}
    longer, validated = fit(tmp_path, ckpt_path=tmp_path / "checkpoints/last.ckpt", max_epochs=10, **schedule)
    accumulate = schedule.get("accumulate_grad_batches", 1)
    assert validated[-1] == 10 * -(-5 // accumulate) and float(longer.layer.weight) == 50 / accumulate
    if schedule == {"check_val_every_n_epoch": 3}:
        assert validated == [step for step in (15, 30, 45, 50) if step > steps[-1]]


@pytest.mark.parametrize(
    "settings",
    [{"val_check_interval": 2}, {"check_val_every_n_epoch": 3}, {"max_steps": 7, "val_check_interval": 2}],
    ids=["by batches", "at the end", "at the last step, where it is not cut"],
)
@pytest.mark.filterwarnings("ignore")
def test_a_validation_that_a_signal_cuts_is_done_again_as_a_whole(settings, tmp_path):
    settings = {"max_epochs": 2, "num_sanity_val_steps": 0, **settings}
    fit(tmp_path / "untouched", **settings)
    last = tmp_path / "cut/checkpoints/last.ckpt"
    for batch in (1, 3, 8, 12):  # of all validations of a start, which have five each
        started = {"ckpt_path": last} if last.is_file() else {}
        cutter = SignalAt("on_validation_batch_end", batch, signal.SIGTERM)
        until_stopped(lambda: bool(fit(tmp_path / "cut", cutter, **started, **settings)), "")  # noqa: B023
    fit(tmp_path / "cut", ckpt_path=last, **settings)
    kept = [torch.load(tmp_path / f"{run}/checkpoints/last.ckpt", weights_only=True) for run in ("untouched", "cut")]
    assert kept[0]["loops"] == kept[1]["loops"] and kept[0]["callbacks"] == kept[1]["callbacks"]
    assert torch.equal(*(each["state_dict"]["layer.weight"] for each in kept))
