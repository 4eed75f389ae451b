"""RunResult: result.json, the plots and the texts of the test, written however the run ends.

Any callback of the run may add to them: what its `summary(events, result)` returns is merged into result.json, and its
`draw(events, result, folder)` is called after that. OverfittingGap, NormGradients and NormParameters do so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pytorch_lightning import Callback, Trainer

from app.callbacks.metric_lines import MetricLines
from app.callbacks.scored_module import ScoredModule
from app.callbacks.stopping import DivergedError
from app.errors import InputError
from app.errors.stop_signals import StoppedError
from app.runs.atomic_write import atomic_write
from app.runs.examples_file import write_test_examples
from app.runs.folder import CHECKPOINTS
from app.runs.identity import RunIdentity
from app.runs.metrics_file import Event, MetricsFile, read_events
from app.runs.result import Status, build_result, read_result, write_result
from app.runs.training import seeds, training_settings


@runtime_checkable
class Summarizes(Protocol):
    """A callback with something to say in result.json."""

    def summary(self, events: Sequence[Event], result: dict[str, Any]) -> dict[str, Any]:
        """Keys of result.json, from the run's events and what result.json has so far."""


@runtime_checkable
class Draws(Protocol):
    """A callback with a plot of its own."""

    def draw(self, events: Sequence[Event], result: dict[str, Any], folder: Path) -> None:
        """Write the plot into the run folder."""


class RunResult(Callback):
    """Keeps the result of one fit, and of the test that ends it.

    What a run that is resumed has recorded stays until its successor is there: the result while it trains, as that of a
    stopped run, and the scores of its test until it is tested again.

    Args:
        identity: of the run.
        fingerprints: digests of its data and its batch plan.
        settings: the merged settings of the run, as config.yaml has them.
        lines: counts what the run costs.
        plots: draw them.
        tests: a test of the best checkpoint ends the run.

    Attributes:
        result: content of result.json; None until the fit has ended.
        was_finished: the fit had nothing left to do, so its result is that of an earlier one.
        awaits_test: the fit has ended, and the test is missing.
        tested: which weights the test is of.
    """

    def __init__(
        self,
        identity: RunIdentity,
        fingerprints: dict[str, str],
        settings: Mapping[str, Any],
        lines: MetricLines,
        plots: bool = True,
        tests: bool = True,
    ) -> None:
        self.identity, self.fingerprints, self.settings, self.lines = identity, fingerprints, settings, lines
        self.plots, self.tests = plots, tests
        self.result: dict[str, Any] | None = None
        self.was_finished = self.awaits_test = False
        self._first_step: int | None = None  # at which training began
        self.tested = "best checkpoint"
        self._former: dict[str, Any] = {}  # result of the attempt that this one resumes

    def on_fit_start(self, trainer: Trainer, pl_module: ScoredModule) -> None:
        """Read the result of an attempt that this one resumes."""
        if trainer.is_global_zero and not trainer.fast_dev_run:
            with suppress(InputError):  # of another version, or damaged
                self._former = read_result(Path(trainer.default_root_dir)) or {}

    def on_train_start(self, trainer: Trainer, pl_module: ScoredModule) -> None:
        """Note in that result that the run is no longer at its end."""
        self._first_step = trainer.global_step
        if self._former:
            write_result(Path(trainer.default_root_dir), {**self._former, "status": "stopped"})

    def on_fit_end(self, trainer: Trainer, pl_module: ScoredModule) -> None:
        """Write the result of a run that came to its end, so far without a test."""
        has_best = (Path(trainer.default_root_dir) / CHECKPOINTS / "best.ckpt").is_file()
        awaits_test = self.tests and has_best and not trainer.fast_dev_run
        self._finish(trainer, pl_module, "untested" if awaits_test else "finished")
        self.awaits_test = trainer.strategy.broadcast(awaits_test and not self.was_finished)

    def on_exception(self, trainer: Trainer, pl_module: ScoredModule, exception: BaseException) -> None:
        """Write the result of a run that diverged or was interrupted."""
        if (
            self._first_step is not None
            and self.result is None
            and isinstance(exception, (DivergedError, StoppedError))
        ):
            self._finish(trainer, pl_module, "diverged" if isinstance(exception, DivergedError) else "stopped")

    def on_test_end(self, trainer: Trainer, pl_module: ScoredModule) -> None:
        """Complete the result by the scores of the test set, which loggers other than metrics.jsonl get, too."""
        if self.result is None or not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir)
        self.result["test"] = {key.removeprefix("test/"): score for key, score in pl_module.scores.items()}
        self.result["tested"], self.result["score_signatures"] = self.tested, pl_module.score_signatures
        self.result["status"] = "finished"
        if examples := pl_module.examples.get("test"):
            write_test_examples(folder, examples)
        for name, lines in pl_module.test_texts.items():
            with atomic_write(folder / f"test_{name}.txt") as part:
                part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        write_result(folder, self.result)
        for logger in trainer.loggers:
            if not isinstance(logger, MetricsFile):
                logger.log_metrics(pl_module.scores, step=trainer.global_step)

    def _finish(self, trainer: Trainer, pl_module: ScoredModule, status: Status) -> None:
        tokens = self.lines.tokens(trainer)
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        folder = Path(trainer.default_root_dir)
        events = read_events(folder)
        result = build_result(
            identity=self.identity,
            norm=pl_module.norm,
            replaced=pl_module.norms_replaced,
            total=pl_module.norms_total,
            left=[norm.path for norm in pl_module.left_norms],
            status=status,
            step=trainer.global_step,
            primary=pl_module.primary,
            events=events,
            cost={
                "elapsed_s": self.lines.elapsed_s,
                "unit": pl_module.input_unit,
                pl_module.input_unit: tokens,
                "parameters": sum(p.numel() for p in pl_module.parameters()),
                "processes": trainer.world_size,
            },
            fingerprints={**self.fingerprints, "weights": pl_module.initial_weights},
            training=training_settings(self.settings, trainer),
            seeds=seeds(self.settings),
        )
        has_trained = self._first_step not in (None, trainer.global_step)
        self.was_finished = not has_trained and _is_result_of(self._former, result)
        self.result = self._former if self.was_finished else result | _former_test(self._former, result["best"])
        if self.was_finished:
            write_result(folder, self.result)
            return
        so_far = {"status": "stopped" if status == "finished" else status}  # whatever the callbacks may do
        write_result(folder, self.result | so_far)
        for callback in trainer.callbacks:
            if isinstance(callback, Summarizes):
                self.result |= callback.summary(events, self.result)
        write_result(folder, self.result | so_far)
        for callback in trainer.callbacks if self.plots else ():
            if isinstance(callback, Draws):
                callback.draw(events, self.result, folder)
        write_result(folder, self.result)


def _is_result_of(former: dict[str, Any], result: dict[str, Any]) -> bool:
    """Whether an earlier attempt of the run has finished at this step, with the test that is due."""
    is_same = former.get("status") == "finished" and former["signature"] == result["signature"]
    return is_same and not (result["status"] == "untested" and former["test"] is None)


def _former_test(former: dict[str, Any], best: dict[str, Any] | None) -> dict[str, Any]:
    """The scores of an earlier attempt's test, and which weights they are of if these are no longer the best ones."""
    if not former.get("test"):
        return {}
    tested = former["tested"]
    if former["best"] != best and " of step " not in tested:
        tested += f" of step {former['best']['step']}"
    return {"test": former["test"], "tested": tested, "score_signatures": former["score_signatures"]}
