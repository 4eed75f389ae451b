"""RunResult: result.json, the plots and the texts of the test, written however the run ends.

Any callback of the run may add to them: what its `summary(events, result)` returns is merged into result.json, and its
`draw(events, result, folder)` is called after that. OverfittingGap, NormGradients and NormParameters do so.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from pytorch_lightning import Callback, Trainer

from app.callbacks.metric_lines import MetricLines
from app.callbacks.scored_module import ScoredModule
from app.callbacks.signals import StoppedError
from app.callbacks.stopping import DivergedError
from app.runs.atomic_write import atomic_write
from app.runs.identity import RunIdentity
from app.runs.metrics_file import Event, MetricsFile, read_events
from app.runs.result import FILE_NAME, build_result, write_result


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

    Args:
        identity: of the run.
        fingerprints: digests of its data and its batch plan.
        lines: counts what the run costs.
        plots: draw them.

    Attributes:
        result: content of result.json; None until the fit has ended.
        tested: which weights the test is of.
    """

    def __init__(
        self, identity: RunIdentity, fingerprints: dict[str, str], lines: MetricLines, plots: bool = True
    ) -> None:
        self.identity, self.fingerprints, self.lines, self.plots = identity, fingerprints, lines, plots
        self.result: dict[str, Any] | None = None
        self.tested = "best checkpoint"

    def on_train_start(self, trainer: Trainer, pl_module: ScoredModule) -> None:
        """Remove the result of an attempt that this one resumes."""
        if trainer.is_global_zero and not trainer.fast_dev_run:
            (Path(trainer.default_root_dir) / FILE_NAME).unlink(missing_ok=True)

    def on_fit_end(self, trainer: Trainer, pl_module: ScoredModule) -> None:
        """Write the result of a run that came to its end, so far without a test."""
        self._finish(trainer, pl_module, "finished")

    def on_exception(self, trainer: Trainer, pl_module: ScoredModule, exception: BaseException) -> None:
        """Write the result of a run that diverged or was interrupted."""
        if trainer.state.fn == "fit" and isinstance(exception, (DivergedError, StoppedError)):
            self._finish(trainer, pl_module, "diverged" if isinstance(exception, DivergedError) else "stopped")

    def on_test_end(self, trainer: Trainer, pl_module: ScoredModule) -> None:
        """Complete the result by the scores of the test set, which loggers other than metrics.jsonl get, too."""
        if self.result is None or not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir)
        self.result["test"] = {key.removeprefix("test/"): score for key, score in pl_module.scores.items()}
        self.result["tested"], self.result["score_signatures"] = self.tested, pl_module.score_signatures
        for name, lines in pl_module.test_texts.items():
            with atomic_write(folder / f"test_{name}.txt") as part:
                part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        write_result(folder, self.result)
        for logger in trainer.loggers:
            if not isinstance(logger, MetricsFile):
                logger.log_metrics(pl_module.scores, step=trainer.global_step)

    def _finish(
        self, trainer: Trainer, pl_module: ScoredModule, status: Literal["finished", "diverged", "stopped"]
    ) -> None:
        tokens = self.lines.tokens(trainer)
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        folder = Path(trainer.default_root_dir)
        events = read_events(folder)
        self.result = build_result(
            identity=self.identity,
            norm=pl_module.norm,
            replaced=len(pl_module.sites),
            total=pl_module.norms_total,
            left=[norm.path for norm in pl_module.left_norms],
            status=status,
            step=trainer.global_step,
            primary=pl_module.primary,
            events=events,
            cost={
                "elapsed_s": self.lines.elapsed_s,
                "tokens": tokens,
                "parameters": sum(p.numel() for p in pl_module.parameters()),
                "processes": trainer.world_size,
            },
            fingerprints={**self.fingerprints, "weights": pl_module.initial_weights},
        )
        write_result(folder, self.result)  # whatever a callback may do
        for callback in trainer.callbacks:
            if isinstance(callback, Summarizes):
                self.result |= callback.summary(events, self.result)
        write_result(folder, self.result)
        for callback in trainer.callbacks if self.plots else ():
            if isinstance(callback, Draws):
                callback.draw(events, self.result, folder)
