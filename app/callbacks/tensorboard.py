"""EventFiles: TensorBoard's logger, whose write errors are reported like those of all other files."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.loggers.logger import DummyExperiment, rank_zero_experiment
from pytorch_lightning.utilities import rank_zero_only
from tensorboard.compat.proto.event_pb2 import Event, SessionLog

from app.errors import InputError
from app.runs.atomic_write import report_write_errors


class EventFiles(TensorBoardLogger):
    """Writes TensorBoard events to the folder `tensorboard` of a run folder.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="", version="tensorboard", default_hp_metric=False)
        self._is_open = False

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """TensorBoard's writer, from the first thing that is logged: a run that is refused before leaves no file."""
        return super().experiment if self._is_open else DummyExperiment()

    @rank_zero_only
    def truncate_to(self, step: int) -> None:
        """Tell TensorBoard to drop the events after a step, which the run that resumes there writes again."""
        self._is_open = True
        start = Event(step=step + 1, session_log=SessionLog(status=SessionLog.START))
        self.experiment.file_writer.add_event(start)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Hand the settings to TensorBoard."""
        self._is_open = True
        super().log_hyperparams(params, *args, **kwargs)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Hand one event to TensorBoard's own thread, which writes it.

        Raises:
            InputError: if that thread could not write an earlier one.
        """
        self._is_open = True
        with report_write_errors(Path(self.log_dir)):
            super().log_metrics(dict(metrics), step)

    def finalize(self, status: str) -> None:
        """Write what is left; after a failed run, its own error takes precedence."""
        with suppress(InputError) if status == "failed" else nullcontext(), report_write_errors(Path(self.log_dir)):
            super().finalize(status)
