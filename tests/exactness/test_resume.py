"""A run that was killed and goes on is, bit for bit, the run that was never killed."""

import pytest

from tests.conftest import ROOT, only_run
from tests.exactness.cases import CASES
from tests.exactness.compare import differences
from tests.exactness.killer import Killed

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
    "each step kept": ("classification", ["--checkpoint_every_steps", 1]),
    "each third step kept, norms watched": ("classification", [
        "--checkpoint_every_steps", 3, "--norm_diagnostics_every_n_steps", 2, "--norm", "adanorm",
    ]),
    "epochs kept": ("classification", []),
    "accumulated, patience": ("classification", [
        "--checkpoint_every_steps", 1, "--trainer.accumulate_grad_batches", 2, "--patience", 1,
        "--model.optimizer.lr", 1e-30, "--trainer.max_epochs", 5,
    ]),
    "validated in mid-epoch": ("classification", ["--checkpoint_every_steps", 1, "--trainer.val_check_interval", 2]),
    "workers": ("classification", ["--checkpoint_every_steps", 1, "--data.workers", 2]),
    "translation": ("translation", ["--checkpoint_every_steps", 1]),
    "translation, epochs kept, accumulated": ("translation", ["--trainer.accumulate_grad_batches", 2]),
    "bytes": ("language_modeling", ["--checkpoint_every_steps", 1]),
    "bytes, validated in mid-epoch, accumulated": ("language_modeling", [
        "--checkpoint_every_steps", 3, "--trainer.accumulate_grad_batches", 2, "--trainer.val_check_interval", 4,
    ]),
    "bytes in windows": ("language_modeling", [
        "--checkpoint_every_steps", 1, "--data.memory", "false", "--data.workers", 2,
    ]),
    "transitions": ("parsing_mlp", ["--checkpoint_every_steps", 1]),
    "biaffine, accumulated": ("parsing_biaffine", [
        "--checkpoint_every_steps", 3, "--trainer.accumulate_grad_batches", 2,
    ]),
}  # fmt: skip

# Every moment with these variants, and these moments with every variant: the whole product takes twice as long.
AT_EVERY_MOMENT = (
    "each step kept",
    "translation",
    "bytes, validated in mid-epoch, accumulated",
    "biaffine, accumulated",
)
WITH_EVERY_VARIANT = ("in mid-epoch", "in mid-validation", "before the test")
DAILY = (("each step kept", "in mid-epoch"), ("bytes", "in mid-epoch"))
PAIRS = [
    pytest.param(variant, kill, marks=[] if (variant, kill) in DAILY else pytest.mark.slow)
    for variant in VARIANTS
    for kill in KILLS
    if variant in AT_EVERY_MOMENT or kill in WITH_EVERY_VARIANT
]


@pytest.fixture(scope="session")
def arguments(sources):
    """The config and all arguments of a variant but its run folder."""

    def get(variant):
        task, more = VARIANTS[variant]
        case = CASES[task]
        return case.config, [*case.arguments(sources[case.data]), *more]

    return get


@pytest.fixture(scope="module")
def untouched(tmp_path_factory, arguments):
    """Run folders of runs that nobody killed, by variant; made when first asked for."""
    from app.cli.main import main

    made = {}

    def get(variant):
        if variant not in made:
            root = tmp_path_factory.mktemp("untouched")
            config, settings = arguments(variant)
            places = [f"--run_root={root}", f"--data.cache_dir={root / 'cache'}"]
            assert main(["fit", "--config", str(ROOT / config), *map(str, settings), *places]) == 0
            made[variant] = only_run(root)
        return made[variant]

    return get


@pytest.mark.parametrize(("variant", "kill"), PAIRS)
def test_a_killed_run_goes_on_bit_for_bit(variant, kill, train, tmp_path, arguments, untouched):
    reference = untouched(variant)
    hook, time = KILLS[kill]
    if time == "last":
        time = batches_an_epoch(reference)
    config, settings = arguments(variant)
    killer = ["--trainer.callbacks+=tests.exactness.killer.KillAt", f"--trainer.callbacks.hook={hook}"]
    with pytest.raises(Killed):
        train("fit", config, *settings, *killer, f"--trainer.callbacks.time={time}")
    assert train("fit", config, *settings, "--ckpt_path", "last") == 0
    assert differences(reference, only_run(tmp_path / "runs")) == []


def batches_an_epoch(run):
    """Batches of an epoch, from a checkpoint's own count."""
    import torch

    checkpoint = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    return checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["ready"]


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["each step kept", "translation", "bytes"])
def test_killed_twice(variant, train, tmp_path, arguments, untouched):
    config, settings = arguments(variant)
    resume = []
    for time in (2, 4):
        killer = ["--trainer.callbacks+=tests.exactness.killer.KillAt", "--trainer.callbacks.hook=on_train_batch_end"]
        with pytest.raises(Killed):
            train("fit", config, *settings, *resume, *killer, f"--trainer.callbacks.time={time}")
        resume = ["--ckpt_path", "last"]
    assert train("fit", config, *settings, *resume) == 0
    assert differences(untouched(variant), only_run(tmp_path / "runs")) == []


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["epochs kept", "translation", "bytes"])
def test_a_finished_run_stays_as_it_is(variant, train, tmp_path, arguments, untouched):
    config, settings = arguments(variant)
    assert train("fit", config, *settings) == 0
    assert train("fit", config, *settings, "--ckpt_path", "last") == 0
    assert differences(untouched(variant), only_run(tmp_path / "runs")) == []


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["epochs kept", "translation", "bytes"])
def test_two_runs_of_one_command_are_the_same_and_of_another_seed_are_not(
    variant, train, tmp_path, arguments, untouched
):
    config, settings = arguments(variant)
    assert train("fit", config, *settings) == 0
    assert differences(untouched(variant), only_run(tmp_path / "runs")) == []
    assert train("fit", config, *settings, "--seed_everything", 2, "--run_root", tmp_path / "other") == 0
    assert differences(untouched(variant), only_run(tmp_path / "other")) != []
