"""What SIGTERM and SIGINT do to a command: it ends where it is, or, while a fit trains, after its next update.

Under SLURM there is a third signal, SIGUSR1 unless a SLURMEnvironment among `trainer.plugins` says otherwise: it ends
the command in the same way, and then the job is put back into the queue. `until_stopped` runs a command; `StopSignals`
blocks within it say what a signal interrupts, and the innermost one answers it.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

_CLEAN_UP_S = 10.0  # in which a second signal, often the same one from two senders, does not end the cleaning up

log = logging.getLogger(__name__)
_stopping_since: float | None = None
_requeue_signal: int | None = signal.SIGUSR1


class StoppedError(BaseException):
    """A signal ended the command. It is not an Exception, which some library would catch and carry on.

    Args:
        number: of the signal.
        rest: of the sentence "stopped by SIGTERM ...": what was interrupted, and what to do.
        is_agreed: all processes of the run stop here, each by itself.

    Attributes:
        exit_status: of the command.
        requeues: the job of SLURM goes back into the queue.
    """

    def __init__(self, number: int, rest: str, is_agreed: bool = False) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} {rest}")
        self.is_agreed = is_agreed
        self.exit_status = 128 + number
        self.requeues = number == _requeue_signal and slurm_job() is not None


class StopSignals:
    """While the block runs, or between `listen` and `restore`, a signal raises StoppedError where the program is.

    A second one is ignored for ten seconds, so that what is half-written is removed, and then ends the process at once.

    Args:
        rest: of the sentence "stopped by SIGTERM ..."; see StoppedError.
        deferred: only remember the first signal, for someone who asks; the second one ends the process at once.

    Attributes:
        received: the signal that was remembered.
    """

    def __init__(self, rest: str, deferred: bool = False) -> None:
        self.rest, self.deferred = rest, deferred
        self.received: int | None = None
        self._former_handlers: dict[int, Any] = {}
        self._process: int | None = None

    def listen(self) -> None:
        """Take the signals; only the main thread of a program can."""
        if threading.current_thread() is threading.main_thread():
            self._process = os.getpid()
            requeue = [_requeue_signal] if _requeue_signal is not None and slurm_job() else []
            for number in (signal.SIGTERM, signal.SIGINT, *requeue):
                self._former_handlers[number] = signal.signal(number, self._receive)

    def restore(self) -> None:
        """Give the signals back to who had them, together with one that was remembered and that no one asked for."""
        for number, handler in self._former_handlers.items():
            signal.signal(number, handler)
        self._former_handlers.clear()
        received, self.received = self.received, None
        if received is not None and _stopping_since is None:
            signal.raise_signal(received)

    def error(self) -> StoppedError:
        """What ends all processes at the signal that was remembered; those that were not asked, by SIGTERM."""
        global _stopping_since
        _stopping_since = time.monotonic()
        return StoppedError(self.received or signal.SIGTERM, self.rest, is_agreed=True)

    def __enter__(self) -> StopSignals:
        self.listen()
        return self

    def __exit__(self, *_: Any) -> None:
        self.restore()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        global _stopping_since
        if os.getpid() != self._process:  # a loader process: Ctrl-C reaches it too, and the main process ends it
            if number == signal.SIGTERM:
                _end_at_once(number)
        elif self.deferred:
            if self.received is not None:
                _end_at_once(number)
            self.received = number
            name = signal.Signals(number).name
            log.info("%s: stopping after this batch; a second one stops at once", name)
        elif _stopping_since is None:
            _stopping_since = time.monotonic()
            raise StoppedError(number, self.rest)
        elif time.monotonic() - _stopping_since > _CLEAN_UP_S:
            _end_at_once(number)


def until_stopped(command: Callable[[], int], rest: str) -> int:
    """Run a command until it ends or a signal stops it, and return its exit status: then 128 + the signal.

    Args:
        command: returns its own exit status.
        rest: of the sentence "stopped by SIGTERM ..." where no inner block knows better.
    """
    global _stopping_since, _requeue_signal
    try:
        with StopSignals(rest):
            return command()
    except StoppedError as error:
        print(error, file=sys.stderr)
        if error.requeues:
            _requeue()
        return error.exit_status
    finally:
        _stopping_since, _requeue_signal = None, signal.SIGUSR1


def stop_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent of this process is gone (Linux)."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def set_requeue_signal(number: int | None) -> None:
    """Choose the signal that requeues a job, until the command ends; None for none."""
    global _requeue_signal
    _requeue_signal = number


def slurm_job() -> str | None:
    """The job of SLURM whose `srun` started this process, as scontrol names it; None elsewhere."""
    if "SLURM_NTASKS" not in os.environ or os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return None  # Lightning's rule, too: what a shell within a job starts is not requeued
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ.get('SLURM_ARRAY_TASK_ID')}"
    return os.environ.get("SLURM_JOB_ID")


def _requeue() -> None:
    """Put the job back into the queue; the first of its processes does."""
    job = str(slurm_job())
    if os.environ.get("SLURM_PROCID", "0") != "0":
        return
    try:
        subprocess.run(["scontrol", "requeue", job], check=True)
        print(f"job {job} is requeued", file=sys.stderr)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"job {job} is not requeued: {error}; submit it again", file=sys.stderr)


def _end_at_once(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
