"""Settings that each are allowed and together are not, or that would spoil a run late: refused before it begins."""

from __future__ import annotations

import os
import re
import shutil
import sys
from typing import Any

import torch
from jsonargparse import Namespace

from app.errors import InputError

LARGEST_SEED = 2**32 - 1  # that Lightning takes
_PROCESSES_A_CORE = 4  # on CPUs; more of them only wait for each other, and take the memory of all
_LEAST = {  # of the trainer's whole numbers; it would divide by 0, or train nothing
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "log_every_n_steps": 1,
    "gradient_clip_val": 0,
}


def check_arguments(command: str, settings: Namespace) -> None:
    """Refuse single values that the parser takes and that a run could not; before anything is read or built.

    Args:
        command: fit, validate, test or predict.
        settings: the parsed arguments of the command.

    Raises:
        InputError: naming the setting, what came and what is allowed.
    """
    seed, trainer = settings.seed_everything, settings.trainer
    if type(seed) is not int or not 0 <= seed <= LARGEST_SEED:
        raise InputError(f"seed_everything is {seed}; allowed: whole numbers from 0 to {LARGEST_SEED}")
    if not settings.run_root or "\0" in settings.run_root:
        raise InputError(f"run_root is {settings.run_root!r}; give the name of a folder")
    for group in ("backbone", "optimizer"):
        if settings.model.init_args.get(group, True) is None:
            raise InputError(f"model.{group} is null; give a mapping, or leave it out")
    for key, least in _LEAST.items():
        if trainer[key] is not None and trainer[key] < least:
            raise InputError(f"trainer.{key} is {trainer[key]}; allowed: numbers from {least}")
    _check_honoured(command, trainer)
    if command == "fit":
        for key in ("max_epochs", "max_steps", "limit_train_batches", "val_check_interval"):
            if trainer[key] == 0:
                raise InputError(f"trainer.{key} is 0, with which nothing would be trained or validated; give more")
    _check_gpus(trainer, 1 if command == "predict" else trainer.devices)  # predict takes one, whatever the run had
    if command != "predict":
        _check_processes(trainer)


def check_settings(settings: Namespace, dataset: str, batches: int | None) -> None:
    """Refuse what cannot give a sound run.

    Args:
        settings: the parsed arguments of the command.
        dataset: short name of the dataset, part of the run folder's path.
        batches: batches of an epoch; None if the command does not train.

    Raises:
        InputError: naming the setting, what came and what is allowed.
    """
    for key in ("patience", "checkpoint_every_steps", "average_checkpoints", "norm_diagnostics_every_n_steps"):
        if settings[key] is not None and settings[key] < 1:
            raise InputError(f"{key} is {settings[key]}; allowed: whole numbers from 1")
    minutes = settings.checkpoint_every_minutes
    if minutes is not None and not minutes > 0:
        raise InputError(f"checkpoint_every_minutes is {minutes}; allowed: numbers above 0")
    if not re.fullmatch(r"[^./\0][^/\0]{0,99}", dataset):
        raise InputError(
            f"data.name is {dataset!r}; it names a folder: allowed are 1 to 100 letters, no /, no first dot"
        )
    if batches is not None:
        _check_compiler(settings.compile)
        _check_validation(settings.trainer, batches)


def _check_honoured(command: str, trainer: Namespace) -> None:
    """Settings of the trainer that a run makes itself."""
    is_fit = command == "fit"
    for key, is_set, reason, remedy in (
        ("default_root_dir", trainer.default_root_dir is not None, "the run folder is made by --run_root", "use that"),
        ("use_distributed_sampler", trainer.use_distributed_sampler, "the batch plan does that", "set it to false"),
        ("enable_checkpointing", is_fit and trainer.enable_checkpointing is False,
         "testing and resuming need checkpoints", "remove it"),
        ("logger", is_fit and trainer.logger is False,
         "metrics.jsonl is always written, and loggers given here are added to it", "remove it"),
    ):  # fmt: skip
        if is_set:
            raise InputError(f"trainer.{key} is {trainer[key]}, which cannot be honoured: {reason}; {remedy}")


def _check_gpus(trainer: Namespace, devices: Any) -> None:
    """A GPU asked for where there is none, or more of them than there are."""
    there = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    wanted = trainer.accelerator
    if not isinstance(wanted, str) or wanted not in ("gpu", *there):
        return
    count = there.get(wanted, max(there.values()))
    if not count:
        is_without = wanted != "mps" and not (torch.version.cuda or torch.version.hip)
        built = f"; this torch, {torch.__version__}, is made without CUDA" if is_without else ""
        raise InputError(
            f"trainer.accelerator is {wanted}, and torch finds no such device here{built}; leave it out, or give cpu"
        )
    if str(devices).isdecimal() and int(devices) > count:
        raise InputError(f"trainer.devices is {devices}; allowed: 1 to {count}, as many as torch finds here")


def _check_processes(trainer: Namespace) -> None:
    """Lightning would start as many processes on CPUs as it is told, a hundred too."""
    if trainer.accelerator not in ("cpu", "auto") or torch.accelerator.is_available():
        return
    most, devices = _PROCESSES_A_CORE * (os.cpu_count() or 1), trainer.devices
    if devices != "auto" and not (str(devices).isdecimal() and 1 <= int(devices) <= most):
        raise InputError(
            f"trainer.devices is {devices}, and here are CPUs alone; allowed: auto, or 1 to {most} processes, "
            f"{_PROCESSES_A_CORE} a core"
        )


def _check_compiler(is_wanted: bool) -> None:
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if is_wanted and not torch.accelerator.is_available() and shutil.which(compiler) is None:
        raise InputError(
            f"compile is true, and its C++ compiler, {compiler}, is not found; install it, or leave it out"
        )


def _check_validation(trainer: Namespace, batches: int) -> None:
    if trainer.limit_val_batches == 0:
        raise InputError("trainer.limit_val_batches is 0; without validation there is no best checkpoint: allow some")
    interval = trainer.val_check_interval
    if isinstance(interval, int) and trainer.check_val_every_n_epoch is not None and interval > batches:
        raise InputError(
            f"trainer.val_check_interval is {interval}; an epoch has {batches} batches: allowed are as many"
        )
    every = interval if isinstance(interval, int) else int(batches * (interval or 1.0))
    accumulate = trainer.accumulate_grad_batches
    if every != batches and every % accumulate:
        raise InputError(
            f"trainer.val_check_interval gives a validation every {every} batches, within the {accumulate} of an "
            "update; give a multiple of trainer.accumulate_grad_batches"
        )
