"""The command line: LightningCLI with --norm, the run folder, and links from data to model."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import Checkpoint, ProgressBar
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.plugins.environments import SLURMEnvironment
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from app.batches import DataSpec
from app.callbacks import AtomicCheckpointIO, DivergedError, EventFiles, RunResult
from app.cli.arguments import add_run_arguments, own_seed
from app.cli.callbacks import evaluation_callbacks, fit_callbacks
from app.cli.checks import check_arguments, check_distributed, check_settings, check_slurm, limit_lines
from app.cli.norm import fold_norm
from app.cli.output import configure_logging
from app.cli.parser_errors import explain
from app.cli.predict import predict, restore_spec
from app.cli.renamed import accept_old_names_in_yaml, with_new_flags
from app.cli.user_callbacks import check_user_callbacks
from app.datamodules.base import DataModule
from app.errors import InputError, print_answer, take_debug
from app.errors.stop_signals import StoppedError, StopSignals, set_requeue_signal, slurm_job, until_stopped
from app.installation import BASE_CONFIG
from app.progress import bar_wanted
from app.runs.averaging import mean_checkpoint
from app.runs.examples_file import add_missing_test_examples
from app.runs.folder import (
    CHECKPOINTS,
    find_checkpoint,
    hide_requeue_checkpoints,
    is_requeued,
    mark_requeued,
    repair_last_checkpoint,
    resolve_resume_checkpoint,
    take_folder,
    unmark_requeued,
    weights_to_average,
)
from app.runs.identity import RunIdentity
from app.runs.metrics_file import MetricsFile
from app.runs.summary import summarise
from app.tasks import Task
from app.tasks.dry_run import dry_run
from app.tasks.optimization import check_schedule

EXIT_INPUT, EXIT_DIVERGED = 2, 4
COMMANDS = ("fit", "validate", "test", "predict")

log = logging.getLogger("app")


class CLI(LightningCLI):
    """LightningCLI that knows tasks, datamodules and the run folder."""

    config_init: Namespace
    model: Task
    datamodule: DataModule
    trainer: Trainer

    def __init__(self, arguments: Sequence[str]) -> None:
        self.command = arguments[0] if arguments and arguments[0] in COMMANDS else None
        accept_old_names_in_yaml()
        super().__init__(
            model_class=Task,
            datamodule_class=DataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,  # RunFiles writes it into the run folder
            seed_everything_default=1,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # checkpoints hold plain types only
            parser_kwargs={
                "exit_on_error": False,
                "allow_abbrev": False,
                **{
                    command: {"default_config_files": [str(BASE_CONFIG)], "exit_on_error": False, "allow_abbrev": False}
                    for command in self.subcommands()
                },
            },
            args=list(arguments),
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Lightning's commands, or only the one that was typed, because building all parsers takes long.

        Checkpoints are always loaded with weights_only=True, so that is not an argument.
        """
        return {
            command: skipped | {"weights_only"}
            for command, skipped in LightningCLI.subcommands().items()
            if self.command in (None, command)
        }

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse; without Lightning's warning about arguments that do not come from sys.argv."""
        self.config = parser.parse_args(args)
        check_arguments(self.config.subcommand, self.config[self.config.subcommand])

    def _parse_ckpt_path(self) -> None:
        """Do nothing: hyper-parameters in a checkpoint must not override the command line."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The same arguments for every command, so that a run's config.yaml serves them all."""
        add_run_arguments(parser)
        parser.link_arguments("norm", "model.init_args.norm")
        parser.link_arguments("placement", "model.init_args.placement")
        parser.link_arguments(("seed_everything", "init_seed"), "model.init_args.seed", compute_fn=own_seed)
        parser.link_arguments(("seed_everything", "order_seed"), "data.init_args.seed", compute_fn=own_seed)
        parser.link_arguments("data", "model.init_args.data_spec", compute_fn=self._data_spec, apply_on="instantiate")

    @property
    def settings(self) -> Namespace:
        """The parsed arguments of the command that runs."""
        return self.config[self.subcommand]

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer, with the run folder as its root and what every run needs added to what the user set."""
        is_fit = self.subcommand == "fit"
        limit = self.settings.trainer.limit_train_batches
        batches = self.datamodule.batches_per_epoch(limit) if is_fit else None
        check_settings(self.settings, self.identity, batches)
        for line in limit_lines(self.command or "", self.settings.trainer, batches):
            log.info("%s", line)
        if is_fit and (baselines := self.model.baselines):
            scores = ", ".join(f"{name} {score:.4f}" for name, score in baselines.items())
            log.info("baselines on the test split: %s", scores)
        log.info(self.model.norm_report)
        self.folder = self._own_folder() or self.identity.folder(Path(self.settings.run_root))
        config = {**self._get(self.config_init, "trainer"), **kwargs, **_torchrun_size()}
        if self.subcommand == "predict":
            config.update({"devices": 1, "num_nodes": 1, "strategy": "auto"})  # one process writes, and in order
        users = _usable(_listed(config["callbacks"]), self.subcommand)
        scored = ["val", *(["train_probe"] if self.datamodule.train_probe else [])]
        check_user_callbacks(users, [name for split in scored for name in self.model.score_names(split)])
        if is_fit:
            self.config_text = text = self._config_text()
            callbacks = fit_callbacks(self.settings, text, self.identity, self.model, self.datamodule, users)
            self.record = next(callback for callback in callbacks if isinstance(callback, RunResult))
        else:
            callbacks = evaluation_callbacks(self.datamodule, users)
        config["callbacks"] = callbacks
        config["plugins"] = [*_listed(config["plugins"]), AtomicCheckpointIO()]
        for plugin in config["plugins"]:
            if isinstance(plugin, SLURMEnvironment):
                set_requeue_signal(plugin.requeue_signal if plugin.auto_requeue else None)
        if slurm_job() is not None:
            hide_requeue_checkpoints(self.folder)
        config["default_root_dir"] = str(self.folder)
        config["enable_checkpointing"] = is_fit
        if self.subcommand == "predict":  # the bar would be drawn between the predictions
            config["enable_progress_bar"] = False
        elif config["enable_progress_bar"] is None:
            has_bar = any(isinstance(callback, ProgressBar) for callback in users)
            config["enable_progress_bar"] = has_bar or bar_wanted()
        config["enable_model_summary"] = bool(config["enable_model_summary"])
        loggers = [] if isinstance(config["logger"], bool) else _listed(config["logger"])
        keeps_files = is_fit and not config["fast_dev_run"]
        config["logger"] = [MetricsFile(self.folder), EventFiles(self.folder), *loggers] if keeps_files else False
        check_slurm(config["plugins"])
        try:
            trainer = Trainer(**config)
        except (MisconfigurationException, ValueError, TypeError, ImportError) as error:
            raise InputError(f"trainer: {' '.join(str(error).split())}; change this setting of trainer") from error
        check_slurm(config["plugins"], trainer.num_devices * trainer.num_nodes)
        if is_fit:
            check_distributed(trainer, dry_run(self.model, *self.datamodule.trial_batches()))
        return trainer

    def after_instantiate_classes(self) -> None:
        """Give the weights their dtype now: Lightning does so after it has loaded a checkpoint into the old one."""
        self.trainer.precision_plugin.convert_module(self.model)

    def fit(self, model: Task, datamodule: DataModule, ckpt_path: str | None) -> None:
        """Train, test the best checkpoint, and print the summary."""
        keeps_files, job = not self.trainer.fast_dev_run, slurm_job()
        if ckpt_path is None and job is not None and is_requeued(self.folder, job, self.config_text):
            log.info("job %s was requeued, and resumes the run in %s", job, self.folder)
            ckpt_path = "last"
        earlier = self.identity.earlier_folder(Path(self.settings.run_root))
        if ckpt_path == "last" and earlier.is_dir() and not self.folder.is_dir():
            raise InputError(
                f"--ckpt_path last: {earlier} is of an earlier version, whose folders do not name the model; to resume "
                f"that run, move it to {self.folder}, and to start a new one, omit --ckpt_path"
            )
        checkpoint = resolve_resume_checkpoint(self.folder, ckpt_path)
        model.total_steps = self._total_steps()
        check_schedule(model.optimizer_config, model.total_steps)
        owns_folder = keeps_files and self.trainer.is_global_zero
        with take_folder(self.folder, checkpoint is None, ckpt_path is not None) if owns_folder else nullcontext():
            if owns_folder and checkpoint is not None and ckpt_path == "last":
                repair_last_checkpoint(self.folder, checkpoint)
            try:
                self._train_and_test(checkpoint)
            except StoppedError as error:
                if owns_folder and error.requeues:
                    mark_requeued(self.folder, str(job), self.config_text)
                raise
            if owns_folder:
                unmark_requeued(self.folder)
        if self.trainer.is_global_zero and self.record.result:
            print(summarise(self.record.result, self.folder, self.record.was_finished), flush=True)

    def _train_and_test(self, checkpoint: Path | None) -> None:
        self.trainer.fit(self.model, datamodule=self.datamodule, ckpt_path=checkpoint, weights_only=True)
        if self.record.awaits_test:
            weights, label = self._weights(self.model, None)
            self.record.tested = label if weights is None else self.record.tested
            with StopSignals("in the test; resume with --ckpt_path last, which tests and does not train again"):
                self.trainer.test(
                    self.model, datamodule=self.datamodule, ckpt_path=weights, weights_only=True, verbose=False
                )

    def validate(self, model: Task, datamodule: DataModule, ckpt_path: str | None, verbose: bool) -> None:
        """Score a checkpoint on the validation set and the train probe."""
        self._score(self.trainer.validate, model, datamodule, ckpt_path)

    def test(self, model: Task, datamodule: DataModule, ckpt_path: str | None, verbose: bool) -> None:
        """Score a checkpoint on the test set."""
        self._score(self.trainer.test, model, datamodule, ckpt_path)
        if self.trainer.is_global_zero:
            scores = {key.removeprefix("test/"): score for key, score in model.scores.items()}
            add_missing_test_examples(self.folder, scores, model.examples["test"])

    def predict(
        self, model: Task, datamodule: DataModule, ckpt_path: str | None, return_predictions: bool | None
    ) -> None:
        """Write one record for each record read, in order; from standard input they are answered as they arrive."""
        weights, _ = self._weights(model, ckpt_path)
        predict(self.trainer, model, datamodule, weights, self.settings.output, self.settings.output_format)

    def _score(self, evaluate: Any, model: Task, datamodule: DataModule, ckpt_path: str | None) -> None:
        weights, label = self._weights(model, ckpt_path)
        evaluate(model, datamodule=datamodule, ckpt_path=weights, weights_only=True, verbose=False)
        if self.trainer.is_global_zero:
            print(self.identity.signature(model.norms_replaced, model.norms_total, label))
            for metric, signature in model.score_signatures.items():
                print(f"{metric}: {signature}")
            print(json.dumps(model.scores, indent=2))

    def _weights(self, model: Task, which: str | None) -> tuple[Path | None, str]:
        """The checkpoint to load and its name in the output: the one asked for, or the best.

        With --average_checkpoints, and no checkpoint asked for, the mean is put into the model, and the path is None.
        """
        count = self.settings.average_checkpoints
        if which or not count:
            checkpoint = find_checkpoint(self.folder, which or "best")
            return checkpoint, str(checkpoint)
        files = weights_to_average(self.folder, count)
        mean = mean_checkpoint(files)
        model.on_load_checkpoint(mean)
        model.load_state_dict(mean["state_dict"])
        return None, f"mean of the weights of the last {len(files)} validations"

    def _data_spec(self, datamodule: DataModule) -> DataSpec:
        """What the data dictates to the model; predict takes it from the run folder and reads no training data.

        So does a test whose split has a source of its own, because without this source others may have been cut.
        """
        keeps = self.subcommand == "predict" or (self.subcommand == "test" and datamodule.tests_own_source)
        if keeps and (folder := self._own_folder()) is not None:
            restore_spec(datamodule, folder)
        return datamodule.data_spec

    def _own_folder(self) -> Path | None:
        """The run folder of a config.yaml on the command line, unless the command begins a run."""
        folders = [Path(str(path)).parent for path in reversed(self.settings.config or [])]
        return next((f for f in folders if self.subcommand != "fit" and (f / CHECKPOINTS).is_dir()), None)

    @property
    def identity(self) -> RunIdentity:
        """The run's identity: task, dataset, model, norm, placement, seed, and what departs from that."""
        model, data, settings = self.model, self.datamodule, self.settings
        seed = settings.seed_everything
        own = {what: settings[f"{what}_seed"] for what in ("init", "order", "dropout")}
        departures = {what: str(value) for what, value in own.items() if value not in (None, seed)}
        departures |= data.split_choice.departures
        return RunIdentity(model.name, data.name, model.model_name, model.norm, seed, model.placement, departures)

    def _config_text(self) -> str:
        """The text of config.yaml: the merged settings without what belongs to this call alone."""
        settings = self.settings.clone()
        settings.ckpt_path = None
        parser = self._parser("fit")
        return parser.dump(settings, skip_unset=False, skip_validation=True)

    def _total_steps(self) -> int | None:
        """Updates of the whole run, or None where only time or patience ends it."""
        trainer = self.trainer
        bounds = [trainer.max_steps] if trainer.max_steps > 0 else []
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            batches = self.datamodule.batches_per_epoch(trainer.limit_train_batches)
            updates = -(-batches // trainer.accumulate_grad_batches)  # of an epoch, rounded up
            bounds.append(updates * trainer.max_epochs)
        return min(bounds, default=None)


def main(arguments: Sequence[str]) -> int:
    """Run a command; the exit status is 0, 2 for bad input, 4 for a diverged run, 128 + signal for a stopped one."""
    command = next((argument for argument in arguments if argument in COMMANDS), "train.py")
    when = "before training" if command == "fit" else f"in {command}, and nothing is written"
    return until_stopped(lambda: _main(arguments), f"{when}; start the same command again")


def _main(arguments: Sequence[str]) -> int:
    arguments, debug = take_debug(arguments)
    configure_logging(next(iter(arguments), None))
    try:
        CLI(fold_norm(with_new_flags(arguments), [BASE_CONFIG]))
        if torch.distributed.is_initialized():  # or its threads may outlive it, and abort a process that is done
            torch.distributed.destroy_process_group()
    except DivergedError as error:
        print(error, file=sys.stderr)
        return EXIT_DIVERGED
    except Exception as error:
        message = explain(error)
        if message is None:
            raise  # a defect of ours: show its traceback
        print_answer(message, error, debug)
        return EXIT_INPUT
    return 0


def _listed(setting: Any) -> list[Any]:
    return list(setting) if isinstance(setting, (list, tuple)) else [] if setting is None else [setting]


def _usable(users: list[Callback], command: str | None) -> list[Callback]:
    """The user's callbacks without those of a fit that Lightning refuses in another command of the same config.yaml."""
    unusable = {"fit": (), "predict": (Checkpoint, ProgressBar)}.get(command or "", (Checkpoint,))
    return [callback for callback in users if not isinstance(callback, unusable)]


def _torchrun_size() -> dict[str, int]:
    """Devices and nodes as torchrun started them, so that they need not be passed twice."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return {}
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    return {"devices": local, "num_nodes": int(os.environ["WORLD_SIZE"]) // local}
