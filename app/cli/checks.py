"""Settings that no run could use, alone or together, or that would spoil a run late: refused before it begins."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
from jsonargparse import Namespace
from pytorch_lightning import Trainer
from pytorch_lightning.plugins.environments import ClusterEnvironment, SLURMEnvironment
from pytorch_lightning.strategies import DDPStrategy

from app.cli.parser_errors import BASES, wrong_class
from app.errors import InputError
from app.errors.stop_signals import slurm_job
from app.runs.identity import RunIdentity

LARGEST_SEED = 2**32 - 1  # of Lightning
_PROCESSES_PER_CORE = 4  # on CPUs; more of them only wait for each other, and need memory each
_FIRST_STEP_OF_SLURM = 0xFFFFFFF0  # ids of steps that srun did not start: of a batch script, of a shell
_LEAST = {  # settings of the trainer that would be divided by, or train nothing
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "log_every_n_steps": 1,
    "gradient_clip_val": 0,
}


def check_arguments(command: str, settings: Namespace) -> None:
    """Refuse single values that the parser takes and that a run cannot use; before anything is read or built.

    Args:
        command: fit, validate, test or predict.
        settings: the parsed arguments of the command.

    Raises:
        InputError: naming the setting, its value and what is expected.
    """
    check_values(command, settings)
    trainer = settings.trainer
    _check_gpus(trainer, 1 if command == "predict" else trainer.devices)  # predict runs on one, whatever the run used
    if command != "predict":
        _check_processes(trainer)


def check_values(command: str, settings: Namespace) -> None:
    """As `check_arguments`, without what depends on the machine."""
    trainer = settings.trainer
    for key in ("seed_everything", "init_seed", "order_seed", "dropout_seed"):
        seed = settings[key]
        if not (seed is None and key != "seed_everything") and (type(seed) is not int or not 0 <= seed <= LARGEST_SEED):
            raise InputError(f"{key} is {seed}; must be an integer from 0 to {LARGEST_SEED}")
    if not settings.run_root or "\0" in settings.run_root:
        raise InputError(f"run_root is {settings.run_root!r}; pass the name of a folder")
    for key in ("model", "data"):
        if settings[key].class_path in BASES:
            raise InputError(wrong_class(key, settings[key].class_path))
    for group in ("backbone", "optimizer"):
        if settings.model.init_args.get(group, True) is None:
            raise InputError(f"model.{group} is null; use a mapping, or omit it")
    for key, least in _LEAST.items():
        _check_least(f"trainer.{key}", trainer[key], least)
    _check_honoured(command, trainer)
    if command == "fit":
        for key in ("max_epochs", "max_steps", "limit_train_batches", "val_check_interval"):
            if trainer[key] == 0:
                raise InputError(f"trainer.{key} is 0, which would train or validate nothing; use more")


def check_settings(settings: Namespace, identity: RunIdentity, batches: int | None) -> None:
    """Refuse settings that cannot give a sound run.

    Args:
        settings: the parsed arguments of the command.
        identity: of the run; its names become folders.
        batches: batches of an epoch; None if the command does not train.

    Raises:
        InputError: naming the setting, its value and what is expected.
    """
    for key in ("patience", "checkpoint_every_steps", "average_checkpoints", "norm_diagnostics_every_n_steps"):
        _check_least(key, settings[key], 1)
    minutes = settings.checkpoint_every_minutes
    if minutes is not None and not minutes > 0:
        raise InputError(f"checkpoint_every_minutes is {minutes}; must be above 0")
    for key, name in (("data.name", identity.dataset), ("model.backbone.name", identity.model)):
        if not re.fullmatch(r"[^./\0][^/\0]{0,99}", name):
            raise InputError(f"{key} is {name!r}; must name a folder: 1 to 100 characters, no /, no dot at the start")
    if batches is not None:
        _check_compiler(settings.compile)
        _check_validation(settings.trainer, batches)


def limit_lines(command: str, trainer: Namespace, batches: int | None) -> list[str]:
    """Return what to tell about settings that are honoured, and that do something other than it seems.

    Args:
        command: fit, validate or test.
        trainer: its settings.
        batches: batches of an epoch; None if the command does not train.
    """
    lines = []
    accumulate = trainer.accumulate_grad_batches
    if batches is not None and accumulate > batches:
        lines.append(
            f"trainer.accumulate_grad_batches is {accumulate}, and an epoch has {batches} batches: each update is made "
            "of these"
        )
    for split, key, commands in (
        ("validation", "limit_val_batches", ("fit", "validate")),
        ("test", "limit_test_batches", ("fit", "test")),
    ):
        limit = trainer[key]
        if command in commands and limit is not None and not (isinstance(limit, float) and limit == 1):
            lines.append(
                f"trainer.{key} is {limit}: {split} scores are of the first batches only; do not compare them "
                "with scores of the whole split"
            )
    return lines


def check_slurm(plugins: Sequence[Any], processes: int | None = None) -> None:
    """Refuse tasks of SLURM that are not the processes of the run: some would train alone, or wait for ever.

    Args:
        plugins: of the trainer; where one of them is an environment, SLURM's is not used.
        processes: of the run, its devices times its nodes; None while they are not known.

    Raises:
        InputError: saying how many tasks there are, and what to start instead.
    """
    own = any(isinstance(plugin, ClusterEnvironment) and not isinstance(plugin, SLURMEnvironment) for plugin in plugins)
    if slurm_job() is None or own or "TORCHELASTIC_RUN_ID" in os.environ:
        return
    tasks = int(os.environ["SLURM_NTASKS"])
    alone = "or add --trainer.plugins+=pytorch_lightning.plugins.environments.LightningEnvironment to ignore SLURM"
    if tasks > 1 and not 0 <= int(os.environ.get("SLURM_STEP_ID", -1)) < _FIRST_STEP_OF_SLURM:
        raise InputError(
            f"SLURM_NTASKS is {tasks}, and srun did not start this process, so the others are missing; put srun before "
            f"the command, {alone}"
        )
    if tasks > 1 and "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise InputError(
            f"SLURM_NTASKS is {tasks}, and SLURM_NTASKS_PER_NODE is not set; pass --ntasks-per-node in place of "
            f"--ntasks, {alone}"
        )
    if processes is not None and processes != tasks:
        raise InputError(
            f"trainer.devices times trainer.num_nodes is {processes}, and SLURM_NTASKS is {tasks}; start one task "
            f"per device (srun --ntasks-per-node), {alone}"
        )


def check_distributed(trainer: Trainer, without_gradient: Sequence[str]) -> None:
    """Refuse DDP, which waits for the gradient of every trainable parameter, where some get none.

    Args:
        trainer: of a fit.
        without_gradient: the parameters that get none.

    Raises:
        InputError: naming some of them, and the strategy that does not wait.
    """
    strategy = trainer.strategy
    if not without_gradient or trainer.world_size == 1 or not isinstance(strategy, DDPStrategy):
        return
    if not strategy._ddp_kwargs.get("find_unused_parameters", False):
        some = ", ".join(without_gradient[:3]) + (", ..." if len(without_gradient) > 3 else "")
        raise InputError(
            f"trainer.strategy is ddp, and {len(without_gradient)} parameters of the model get no "
            f"gradient ({some}), for which {trainer.world_size} processes would wait; set trainer.strategy to "
            "ddp_find_unused_parameters_true"
        )


def _check_least(name: str, value: float | None, least: int) -> None:
    if value is not None and value < least:
        raise InputError(f"{name} is {value}; must be >= {least}")


def _check_honoured(command: str, trainer: Namespace) -> None:
    """Refuse settings of the trainer that a run makes itself."""
    is_fit = command == "fit"
    for key, is_set, reason, remedy in (
        ("default_root_dir", trainer.default_root_dir is not None, "the run folder is made by --run_root", "use that"),
        ("use_distributed_sampler", trainer.use_distributed_sampler, "the batch plan does that", "set it to false"),
        ("enable_checkpointing", is_fit and trainer.enable_checkpointing is False,
         "testing and resuming need checkpoints", "remove it"),
        ("logger", is_fit and trainer.logger is False,
         "metrics.jsonl is always written, and other loggers are added to it", "remove it"),
        ("overfit_batches", bool(trainer.overfit_batches), "Lightning would put another order in place of the batch "
         "plan", "put a few examples into a file of their own, and train on that"),
        ("val_check_interval", is_fit and isinstance(trainer.val_check_interval, (str, dict, timedelta)),
         "by the clock, processes would not validate after the same update", "use a number of batches"),
        ("limit_predict_batches", command == "predict" and trainer.limit_predict_batches is not None,
         "predict answers every record", "remove it"),
        ("barebones", trainer.barebones, "it turns off what records a run", "remove it"),
        ("gradient_clip_algorithm", trainer.gradient_clip_algorithm is not None and trainer.gradient_clip_val is None,
         "nothing is clipped without trainer.gradient_clip_val", "set that, too"),
    ):  # fmt: skip
        if is_set:
            raise InputError(f"trainer.{key} is {trainer[key]}, which cannot be honoured: {reason}; {remedy}")


def _check_gpus(trainer: Namespace, devices: Any) -> None:
    """Refuse a GPU where there is none, and more GPUs than there are."""
    present = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    wanted = trainer.accelerator
    if not isinstance(wanted, str) or wanted not in ("gpu", *present):
        return
    count = present.get(wanted, max(present.values()))
    if not count:
        is_without = wanted != "mps" and not (torch.version.cuda or torch.version.hip)
        built = f"; this torch, {torch.__version__}, was built without CUDA" if is_without else ""
        raise InputError(
            f"trainer.accelerator is {wanted}, and torch finds no such device here{built}; omit it, or use cpu"
        )
    if str(devices).isdecimal() and int(devices) > count:
        raise InputError(f"trainer.devices is {devices}; must be from 1 to {count}, the number that torch finds here")


def _check_processes(trainer: Namespace) -> None:
    """Refuse more processes than the CPUs can run: Lightning would start any number."""
    if trainer.accelerator not in ("cpu", "auto") or torch.accelerator.is_available():
        return
    most, devices = _PROCESSES_PER_CORE * (os.cpu_count() or 1), trainer.devices
    if devices != "auto" and not (str(devices).isdecimal() and 1 <= int(devices) <= most):
        raise InputError(
            f"trainer.devices is {devices}, and this machine has CPUs only; must be auto, or 1 to {most} processes, "
            f"{_PROCESSES_PER_CORE} per core"
        )


def _check_compiler(is_wanted: bool) -> None:
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if is_wanted and not torch.accelerator.is_available() and shutil.which(compiler) is None:
        raise InputError(
            f"compile is true, and its C++ compiler, {compiler}, is not found; install it, or omit compile"
        )


def _check_validation(trainer: Namespace, batches: int) -> None:
    if trainer.limit_val_batches == 0:
        raise InputError("trainer.limit_val_batches is 0; must be more, as validation chooses the best checkpoint")
    if not batches:
        raise InputError(f"trainer.limit_train_batches is {trainer.limit_train_batches}, less than one batch; use more")
    interval = 1.0 if trainer.val_check_interval is None else trainer.val_check_interval
    if isinstance(interval, int) and trainer.check_val_every_n_epoch is not None and interval > batches:
        raise InputError(f"trainer.val_check_interval is {interval}; must be <= {batches}, the batches of an epoch")
    every = interval if isinstance(interval, int) else int(batches * interval)
    accumulate = trainer.accumulate_grad_batches
    across = isinstance(interval, int) and trainer.check_val_every_n_epoch is None and batches % accumulate
    if every != batches and (every % accumulate or across):
        raise InputError(
            f"trainer.val_check_interval gives a validation every {every} batches, within the {accumulate} of an "
            "update; use a multiple of trainer.accumulate_grad_batches"
        )
