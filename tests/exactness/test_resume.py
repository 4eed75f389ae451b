"""A run that was killed and goes on is, bit for bit, the run that was never killed."""

import pytest

from tests.conftest import only_run
from tests.exactness.compare import differences
from tests.exactness.killer import Killed

CONFIG = "configs/quickstart.yaml"
SMALL = [
    "--trainer.max_epochs", 3, "--trainer.log_every_n_steps", 2, "--data.batch_tokens", 200, "--data.val_fraction", 0.2,
    "--model.backbone.options.hidden_size", 32, "--model.backbone.options.intermediate_size", 64,
    "--model.backbone.options.num_hidden_layers", 2,
]  # fmt: skip

KILLS = {
    "after the first step": ("on_train_batch_end", 1),
    "in mid-epoch": ("on_train_batch_end", 3),
    "before a step": ("on_train_batch_start", 5),
    "after the last step of an epoch": ("on_train_batch_end", "last"),
    "before validation": ("on_validation_start", 1),
    "in mid-validation": ("on_validation_batch_end", 1),
    "after validation, before its checkpoint": ("on_validation_end", 2),
    "at the end of an epoch": ("on_train_epoch_end", 1),
    "at the beginning of an epoch": ("on_train_epoch_start", 2),
    "at the end of training": ("on_train_end", 1),
    "before the test": ("on_test_start", 1),
}
VARIANTS = {
    "each step kept": ["--checkpoint_every_steps", 1],
    "each third step kept": ["--checkpoint_every_steps", 3],
    "epochs kept": [],
    "accumulated, patience": [
        "--checkpoint_every_steps", 1, "--trainer.accumulate_grad_batches", 2, "--patience", 1,
        "--model.optimizer.lr", 1e-30, "--trainer.max_epochs", 5,
    ],
    "validated in mid-epoch": ["--checkpoint_every_steps", 1, "--trainer.val_check_interval", 2],
    "workers": ["--checkpoint_every_steps", 1, "--data.workers", 2],
}  # fmt: skip


@pytest.fixture(scope="module")
def untouched(tmp_path_factory, tiny_texts):
    """Run folders of runs that nobody killed, by variant; made when first asked for."""
    from app.cli import main
    from tests.conftest import ROOT

    made = {}

    def get(variant):
        if variant not in made:
            root = tmp_path_factory.mktemp("untouched")
            arguments = [*SMALL, *VARIANTS[variant], "--data.source", tiny_texts, "--run_root", root]
            arguments += ["--data.cache_dir", root / "cache"]
            assert main(["fit", "--config", str(ROOT / CONFIG), *map(str, arguments)]) == 0
            made[variant] = only_run(root)
        return made[variant]

    return get


@pytest.mark.parametrize("kill", KILLS, ids=str)
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_killed_run_goes_on_bit_for_bit(variant, kill, train, tmp_path, tiny_texts, untouched):
    reference = untouched(variant)
    hook, time = KILLS[kill]
    if time == "last":
        time = batches_an_epoch(reference)
    arguments = [*SMALL, *VARIANTS[variant], "--data.source", tiny_texts]
    killer = ["--trainer.callbacks+=tests.exactness.killer.KillAt", f"--trainer.callbacks.hook={hook}"]
    with pytest.raises(Killed):
        train("fit", CONFIG, *arguments, *killer, f"--trainer.callbacks.time={time}")
    assert train("fit", CONFIG, *arguments, "--ckpt_path", "last") == 0
    assert differences(reference, only_run(tmp_path / "runs")) == []


def batches_an_epoch(run):
    """Batches of an epoch, from a checkpoint's own count."""
    import torch

    checkpoint = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    return checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["ready"]


def test_killed_twice(train, tmp_path, tiny_texts, untouched):
    arguments = [*SMALL, *VARIANTS["each step kept"], "--data.source", tiny_texts]
    resume = []
    for time in (2, 4):
        killer = ["--trainer.callbacks+=tests.exactness.killer.KillAt", "--trainer.callbacks.hook=on_train_batch_end"]
        with pytest.raises(Killed):
            train("fit", CONFIG, *arguments, *resume, *killer, f"--trainer.callbacks.time={time}")
        resume = ["--ckpt_path", "last"]
    assert train("fit", CONFIG, *arguments, *resume) == 0
    assert differences(untouched("each step kept"), only_run(tmp_path / "runs")) == []


def test_a_finished_run_stays_as_it_is(train, tmp_path, tiny_texts, untouched):
    arguments = [*SMALL, *VARIANTS["epochs kept"], "--data.source", tiny_texts]
    assert train("fit", CONFIG, *arguments) == 0
    assert train("fit", CONFIG, *arguments, "--ckpt_path", "last") == 0
    assert differences(untouched("epochs kept"), only_run(tmp_path / "runs")) == []


def test_two_runs_of_one_command_are_the_same_and_of_another_seed_are_not(train, tmp_path, tiny_texts, untouched):
    arguments = [*SMALL, *VARIANTS["epochs kept"], "--data.source", tiny_texts]
    assert train("fit", CONFIG, *arguments) == 0
    assert differences(untouched("epochs kept"), only_run(tmp_path / "runs")) == []
    assert train("fit", CONFIG, *arguments, "--seed_everything", 2, "--run_root", tmp_path / "other") == 0
    assert differences(untouched("epochs kept"), only_run(tmp_path / "other")) != []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (["--norm", "layernorm"], "last.ckpt"),  # another norm is another run folder
        (["--data.batch_tokens", 150], "batch plan"),
        (["--trainer.accumulate_grad_batches", 2], "batch plan"),
        (["--data.max_length", 5], "data"),
    ],
)
def test_going_on_with_something_else_is_refused(change, says, train, tmp_path, tiny_texts, capsys):
    arguments = [*SMALL, "--data.source", tiny_texts, "--trainer.max_epochs", 1]
    assert train("fit", CONFIG, *arguments) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*.ckpt")}
    assert train("fit", CONFIG, *arguments, "--ckpt_path", "last", *change) == 2
    assert says in capsys.readouterr().err.splitlines()[-1]
    assert before == {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*.ckpt")}


@pytest.mark.parametrize("change", [["--norm", "layernorm"], ["--seed_everything", 9]])
def test_a_checkpoint_of_another_run_is_refused_by_path(change, train, tmp_path, tiny_texts, capsys):
    arguments = [*SMALL, "--data.source", tiny_texts, "--trainer.max_epochs", 1]
    assert train("fit", CONFIG, *arguments) == 0
    checkpoint = only_run(tmp_path / "runs") / "checkpoints/last.ckpt"
    assert train("fit", CONFIG, *arguments, *change, "--ckpt_path", checkpoint) == 2
    assert "the checkpoint" in capsys.readouterr().err.splitlines()[-1]
