"""What watches a fit: the callbacks that a command line asks for, in the order in which they are called."""

from __future__ import annotations

from jsonargparse import Namespace
from pytorch_lightning import Callback

from app.callbacks import (
    CompileModel,
    DropoutMasks,
    ErrorContext,
    NormGradients,
    NormParameters,
    Reseed,
    RunCheckpoint,
    RunRecord,
    StopEarly,
    StopWhenDiverged,
    ValidateLastStep,
)
from app.datamodules.base import DataModule
from app.tasks import Task


def error_context(datamodule: DataModule) -> ErrorContext:
    """What every command's errors end with."""
    return ErrorContext(datamodule.batch_size_settings(training=True), datamodule.batch_size_settings(training=False))


def fit_callbacks(settings: Namespace, record: RunRecord, model: Task) -> list[Callback]:
    """The callbacks of a fit beside those of `trainer.callbacks`.

    Args:
        settings: the parsed arguments of the command.
        record: the run's.
        model: whose primary metric chooses the best checkpoint.
    """
    seed, primary = settings.seed_everything, model.primary
    monitor = f"val/{primary.name}"
    callbacks: list[Callback] = [Reseed(seed), DropoutMasks(), record, StopWhenDiverged(), ValidateLastStep()]
    if every := settings.norm_diagnostics_every_n_steps:
        callbacks = [NormGradients(every), NormParameters(every), *callbacks]
    if settings.compile:
        callbacks.append(CompileModel())
    if settings.patience:
        callbacks.append(StopEarly(monitor, primary.mode, settings.patience))
    callbacks.append(
        RunCheckpoint(
            monitor,
            primary.mode,
            settings.checkpoint_every_steps,
            settings.checkpoint_every_minutes,
            settings.average_checkpoints,
        )
    )
    return callbacks


def run_record(settings: Namespace, config_text: str, model: Task, datamodule: DataModule) -> RunRecord:
    """The record of a run: its config.yaml, its names and its fingerprints.

    Args:
        settings: the parsed arguments of the command.
        config_text: content of config.yaml.
        model: the task.
        datamodule: its data.
    """
    names = {
        "task": model.name,
        "dataset": datamodule.name,
        "norm_signature": model.norm.signature,
        "sites_label": model.norm.sites_label,
        "seed": settings.seed_everything,
    }
    fingerprints = (datamodule.fingerprint, datamodule.plan.fingerprint)
    of_processes, pictures = settings.allow_world_size_change, settings.plots
    return RunRecord(config_text, datamodule.export_spec(), names, *fingerprints, of_processes, pictures)
