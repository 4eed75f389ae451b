"""Signals that ask a run to stop: remembered until its state can be saved exactly."""

from __future__ import annotations

import logging
import os
import signal
import threading
from types import FrameType
from typing import Any

from pytorch_lightning import Trainer

log = logging.getLogger(__name__)


class StoppedError(RuntimeError):
    """A signal asked the run to stop; of a fit, the state is in last.ckpt."""

    def __init__(self, number: int, what_now: str = "resume with --ckpt_path last") -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; {what_now}")
        self.exit_status = 128 + number


class StopSignals:
    """Listens for SIGTERM and SIGINT. The first one is remembered, the second one ends the process at once."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._former_handlers: dict[int, Any] = {}

    def listen(self) -> None:
        """Take the signals, except under SLURM, where Lightning's own plugin saves and requeues."""
        if threading.current_thread() is threading.main_thread() and "SLURM_JOB_ID" not in os.environ:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._former_handlers[number] = signal.signal(number, self._receive)

    def restore(self) -> None:
        """Give the signals back to who had them."""
        for number, handler in self._former_handlers.items():
            signal.signal(number, handler)
        self._former_handlers.clear()

    def is_stopping(self, trainer: Trainer) -> bool:
        """Whether any process was asked to stop: all must agree, for writing a checkpoint takes all of them."""
        asked = self._received is not None
        return asked if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(asked, all=False)

    def error(self) -> StoppedError:
        """What ends the run; of a process that was not asked itself, by SIGTERM."""
        return StoppedError(self._received or signal.SIGTERM)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._received = number
        log.info("%s: stopping after this step; a second one stops at once", signal.Signals(number).name)
