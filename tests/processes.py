"""Start a process from a test, watch it, and never leave it behind; or do without one."""

import io
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import pytest

from app.cli.main import main
from app.installation import TRAIN


@contextmanager
def started(command: list[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A running process; however the block is left, the process is then killed and its pipes are closed.

    Args:
        command: the program and its arguments.
        options: other arguments of `subprocess.Popen`.
    """
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(condition: Callable[[], object], process: subprocess.Popen[Any], seconds: float = 300) -> None:
    """Wait for what a process is to bring about; fail with its output as soon as it has ended without doing so."""
    deadline = time.monotonic() + seconds
    while True:
        status = process.poll()  # before the condition, which may come true with the last thing that the process does
        if condition():
            return
        if status is not None or time.monotonic() > deadline:
            process.kill()
            output = "".join(filter(None, process.communicate()))
            pytest.fail(f"{f'waited {seconds} s' if status is None else f'ended with status {status}'}:\n{output}")
        time.sleep(0.01)


def run_here(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """`subprocess.run` of a command of train.py, in this process: without the seconds that one takes to import."""
    assert command[: len(TRAIN)] == TRAIN
    with redirect_stdout(io.StringIO()) as output, redirect_stderr(io.StringIO()) as error:
        status = main(command[len(TRAIN) :])
    return subprocess.CompletedProcess(command, status, output.getvalue(), error.getvalue())
