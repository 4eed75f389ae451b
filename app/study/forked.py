"""Trials forked from a process that has imported what they need: the study's side of `cli/fork_server.py` (Linux)."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from app.installation import ROOT, TRAIN

_PR_SET_CHILD_SUBREAPER = 36  # of linux/prctl.h
_COMMAND_ROOM = " " * 8192  # in the server's command line, which a trial overwrites by its own
_SERVE = (
    "import sys; sys.path[0] = sys.argv[1]; from app.cli.fork_server import serve; sys.exit(serve(int(sys.argv[2])))"
)


class ForkServer:
    """Starts the server, and asks it for processes.

    Args:
        environment: of the server and all trials; it sets their number of threads.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self._channel, theirs = socket.socketpair()
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
        first = os.getcwd() if "-m" in TRAIN else str(ROOT)  # what Python looks through first, started as TRAIN
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _SERVE, first, str(theirs.fileno()), _COMMAND_ROOM],
                stdin=subprocess.DEVNULL,
                env=environment,
                pass_fds=[theirs.fileno()],
                process_group=0,  # Ctrl-C reaches the study alone
            )

    def start(self, arguments: list[str], log: Path) -> ForkedProcess | None:
        """Start `train.py` with these arguments; None if the server is gone, such as one that could not import."""
        try:
            self._channel.sendall(json.dumps({"arguments": arguments, "log": str(log)}).encode() + b"\n")
            pid = int(self._channel.recv(32) or -1)
        except OSError:
            return None
        return ForkedProcess(pid) if pid > 0 else None

    def close(self) -> None:
        """End the server; trials stay."""
        self._channel.close()
        self._process.kill()
        self._process.wait()


class ForkedProcess:
    """A child of this process that it did not start, with what it needs of `subprocess.Popen`.

    Args:
        pid: of the child.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end.

        Raises:
            subprocess.TimeoutExpired: after the given number of seconds.
        """
        deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
        while (status := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
            time.sleep(0.02)
        return status

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        if self.poll() is None:  # until it is waited for, no other process can have its number
            os.kill(self.pid, number)
