"""Settings that each are allowed and together are not, or that would spoil a run late: refused before it begins."""

from __future__ import annotations

import os
import shutil
import sys

import torch
from jsonargparse import Namespace

from app.errors import InputError


def check_settings(settings: Namespace, dataset: str, batches: int | None) -> None:
    """Refuse what cannot give a sound run.

    Args:
        settings: the parsed arguments of the command.
        dataset: short name of the dataset, part of the run folder's path.
        batches: batches of an epoch; None if the command does not train.

    Raises:
        InputError: naming the setting, what came and what is allowed.
    """
    for key in ("patience", "checkpoint_every_steps", "average_checkpoints", "watch_norms_every_steps"):
        if settings[key] is not None and settings[key] < 1:
            raise InputError(f"{key} is {settings[key]}; allowed: whole numbers from 1")
    minutes = settings.checkpoint_every_minutes
    if minutes is not None and not minutes > 0:
        raise InputError(f"checkpoint_every_minutes is {minutes}; allowed: numbers above 0")
    if not dataset or "/" in dataset or dataset.startswith("."):
        raise InputError(
            f"data.name is {dataset!r}; it names a folder: allowed are names without / that begin with no dot"
        )
    if batches is not None:
        _check_compiler(settings.compile)
        _check_validation(settings.trainer, batches)


def check_devices(trainer: Namespace) -> None:
    """Refuse a GPU where there is none, before any data is read.

    Raises:
        InputError: naming what was asked for and what there is.
    """
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
    devices = str(trainer.devices)
    if devices.isdecimal() and int(devices) > count:
        raise InputError(f"trainer.devices is {devices}; allowed: 1 to {count}, as many as torch finds here")


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
