"""metrics.jsonl: what a run measured, one event per line, and how everything that is recorded gets there.

A line is {"step": updates done, "epoch": epoch in progress from 1, metric: value, ...}. No step occurs twice: what
arrives for the last step joins its line.
"""

from __future__ import annotations

import errno
import json
import math
import mmap
import os
from argparse import Namespace
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from app.errors import InputError
from app.runs.atomic_write import atomic_write, report_write_errors

FILE_NAME = "metrics.jsonl"
Event = dict[str, Any]


def log_event(trainer: Trainer, metrics: Mapping[str, float]) -> None:
    """Send metrics of the current step to all loggers: metrics.jsonl, TensorBoard and the user's own."""
    for logger in trainer.loggers:
        logger.log_metrics({"epoch": trainer.current_epoch + 1, **metrics}, step=trainer.global_step)


def read_events(folder: Path) -> list[Event]:
    """The events of a run folder, in order; an unfinished last line, left by a kill or a full disk, is skipped.

    Raises:
        InputError: for any other line that is not an event.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return [_event(line, f"{path}:{number}") for number, line in enumerate(lines[:-1], start=1)]  # the last one is torn


def last_value(folder: Path, key: str) -> Any:
    """The newest value of a key in a run that may still be writing; None where there is none, however long the file."""
    try:
        with open(folder / FILE_NAME, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            name = json.dumps(key).encode() + b": "
            begin = content.rfind(name, 0, content.rfind(b"\n") + 1)  # the line after it is torn
            if begin < 0:
                return None
            begin += len(name)
            line = content[begin : content.find(b"\n", begin)].decode("utf-8", errors="replace")
    except (FileNotFoundError, ValueError):  # no file, or an empty one, which cannot be mapped
        return None
    with suppress(json.JSONDecodeError):  # caught while it was rewritten
        return json.JSONDecoder().raw_decode(line)[0]
    return None


class MetricsFile(Logger):
    """Lightning logger that appends to metrics.jsonl of a run folder.

    Args:
        folder: the run folder; created on the first write.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._last: Event | None = None
        self._last_offset = 0  # bytes before the last line

    @property
    def name(self) -> str:
        """Empty: the run folder is the name."""
        return ""

    @property
    def version(self) -> str:
        """Empty, as the name."""
        return ""

    @property
    def log_dir(self) -> str:
        """The run folder."""
        return str(self._folder)

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self._folder)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: config.yaml holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write one event, or add to the last one if the step is the same."""
        assert step is not None, "an event belongs to a step"
        values = {key: _plain(value) for key, value in metrics.items()}
        path = self._folder / FILE_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        size = path.stat().st_size if path.exists() else 0
        if self._last is not None and self._last["step"] == step:
            self._last = {**self._last, **values}
        else:
            self._last_offset = size
            self._last = {"step": step, **values}
        # One write of a line at least as long as the one it replaces: no moment at which the file lacks it. A key that
        # is logged again may have a shorter value.
        line = json.dumps(self._last).encode().ljust(size - self._last_offset - 1) + b"\n"
        with report_write_errors(path), open(path, "r+b" if path.exists() else "wb", buffering=0) as file:
            file.seek(self._last_offset)
            if file.write(line) < len(line):  # what a disk that has become full does before it refuses
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @property
    def last(self) -> Event | None:
        """The newest event; a checkpoint holds it, because later the line may hold more than the checkpoint knew."""
        return self._last

    @rank_zero_only
    def truncate_to(self, last: Event | None) -> None:
        """Make `last` the last event and drop all later ones: the run resumes from a checkpoint written there.

        Args:
            last: the property `last` at the time of the checkpoint; None where a run begins.
        """
        path = self._folder / FILE_NAME
        before = [event for event in read_events(self._folder) if last is not None and event["step"] < last["step"]]
        kept = [*before, *([last] if last is not None else [])]
        lines = [json.dumps(event).encode() + b"\n" for event in kept]
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as part:
            part.write_bytes(b"".join(lines))
        self._last = kept[-1] if kept else None
        self._last_offset = sum(map(len, lines[:-1]))


def _event(line: str, place: str) -> Event:
    try:
        event = json.loads(line)
    except ValueError as error:
        raise InputError(f"{place}: is not an event ({error}); delete this line") from error
    if not isinstance(event, dict) or "step" not in event:
        raise InputError(f"{place}: is not an event; delete this line")
    return event


def _plain(value: float) -> float | None:
    """Convert to a number that JSON can hold; nan and infinity become null."""
    number = float(value) if not isinstance(value, int) else value
    return number if math.isfinite(number) else None
