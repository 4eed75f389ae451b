"""The callbacks of a fit, in the order in which they are called; the user's are among them."""

from __future__ import annotations

from collections.abc import Sequence

import yaml
from jsonargparse import Namespace
from pytorch_lightning import Callback

from app.callbacks import (
    CompileModel,
    DropoutMasks,
    ErrorContext,
    MetricLines,
    NormGradients,
    NormParameters,
    OverfittingGap,
    ProgressLines,
    Reseed,
    ResumeCheck,
    RunCheckpoint,
    RunFiles,
    RunResult,
    StopAtSignals,
    StopEarly,
    StopWhenDiverged,
)
from app.cli.arguments import own_seed
from app.datamodules.base import DataModule
from app.runs.identity import RunIdentity
from app.tasks import Task


def common_callbacks(datamodule: DataModule) -> list[Callback]:
    """Those of every command: what its errors end with, and what ends it."""
    sizes = datamodule.batch_size_settings(training=True), datamodule.batch_size_settings(training=False)
    return [ErrorContext(*sizes), StopAtSignals()]


def evaluation_callbacks(datamodule: DataModule, users: Sequence[Callback]) -> list[Callback]:
    """The callbacks of a command that does not train; a ProgressLines of the user's takes the place of ours."""
    lines = [] if any(type(callback) is ProgressLines for callback in users) else [ProgressLines()]
    return [*common_callbacks(datamodule), *lines, *users]


def fit_callbacks(
    settings: Namespace,
    config_text: str,
    identity: RunIdentity,
    model: Task,
    datamodule: DataModule,
    users: Sequence[Callback],
) -> list[Callback]:
    """The callbacks of a fit.

    Args:
        settings: the parsed arguments of the command.
        config_text: content of config.yaml.
        identity: of the run.
        model: the task; its primary metric chooses the best checkpoint.
        datamodule: its data.
        users: those of `trainer.callbacks`; one of a class that is among ours takes its place.
    """
    monitor, mode = f"val/{model.primary.name}", model.primary.mode
    merged = yaml.safe_load(config_text)
    fingerprints = {"data": datamodule.fingerprint, "plan": datamodule.plan.fingerprint}
    lines = next((callback for callback in users if type(callback) is MetricLines), MetricLines())
    every = settings.norm_diagnostics_every_n_steps
    before: list[Callback] = [*common_callbacks(datamodule), OverfittingGap(settings.twin_axes), ProgressLines()]
    after: list[Callback] = [
        *([NormGradients(every), NormParameters(every)] if every else []),
        Reseed(own_seed(settings.seed_everything, settings.dropout_seed)),
        DropoutMasks(),
        ResumeCheck(
            identity,
            fingerprints,
            merged,
            model.optimizer_config.ends_with_run,
            settings.allow_world_size_change,
        ),
        lines,
        RunFiles(config_text, identity, datamodule.export_spec()),
        RunResult(identity, fingerprints, merged, lines, settings.plots, settings.test_after_fit),
        StopWhenDiverged(),
        *([CompileModel()] if settings.compile else []),
        *([StopEarly(monitor, mode, settings.patience)] if settings.patience else []),
        RunCheckpoint(
            monitor,
            mode,
            settings.checkpoint_every_steps,
            settings.checkpoint_every_minutes,
            settings.average_checkpoints,
        ),
    ]
    replaced = {type(callback) for callback in users}
    before, after = ([ours for ours in group if type(ours) not in replaced] for group in (before, after))
    return [*before, *users, *after]
