"""EventFiles: TensorBoard's logger, whose write errors are reported like those of all other files."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path

from pytorch_lightning.loggers import TensorBoardLogger

from app.errors import InputError
from app.runs.atomic_write import report_write_errors


class EventFiles(TensorBoardLogger):
    """Writes TensorBoard events to the folder `tensorboard` of a run folder.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="", version="tensorboard", default_hp_metric=False)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Hand one event to TensorBoard's own thread, which writes it.

        Raises:
            InputError: if that thread could not write an earlier one.
        """
        with report_write_errors(Path(self.log_dir)):
            super().log_metrics(dict(metrics), step)

    def finalize(self, status: str) -> None:
        """Write what is left; after a failed run, its own error takes precedence."""
        with suppress(InputError) if status == "failed" else nullcontext(), report_write_errors(Path(self.log_dir)):
            super().finalize(status)
