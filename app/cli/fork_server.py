"""The fork server: train.py as a process that has imported everything, and forks one process for each run (Linux).

A study starts it (`study/forked.py`), so that the seconds of imports are paid once in a study and not once in a trial.
A run is forked twice, and the process between ends at once: the kernel then makes the run a child of the study, which
waits for it and signals it as if it had started it itself, whatever becomes of the server. In its process it is what
`python train.py fit ...` is: the same arguments, environment, standard streams, command line in `ps`, and numbers. The
server itself only imports: threads, which a fork would lose, begin in the runs.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

from app.cli import __main__ as entry
from app.errors.stop_signals import stop_with_parent
from app.installation import TRAIN


def serve(file: int) -> int:
    """Fork a process for each line of a socket until that is closed, and in these return the status of train.py.

    Args:
        file: descriptor of the socket.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # it ends when the study closes the socket
    study = os.getppid()
    import app.cli.main  # noqa: F401  # takes seconds

    gc.collect()
    gc.freeze()  # or a collection in a run would copy the memory that it shares with the server
    with socket.socket(fileno=file) as channel, channel.makefile("rb") as requests:
        for line in requests:
            request = json.loads(line)
            if not (pid := _fork_twice()):
                break
            channel.sendall(str(pid).encode())
        else:
            return 0
    _become_run(request["arguments"], request["log"], study)
    return entry.run()


def _fork_twice() -> int:
    """Fork a process whose parent ends, so that the study becomes its parent.

    Returns:
        Its number, or -1 if it could not be made; in the process itself 0.
    """
    read, write = os.pipe()
    between = os.fork()
    if between == 0:
        between = os.getpid()
        if (pid := os.fork()) == 0:
            for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
                signal.signal(number, handler)
            os.close(read)
            os.close(write)
            while os.getppid() == between:
                time.sleep(0.001)
            return 0
        os.write(write, str(pid).encode())
        os._exit(0)
    os.close(write)
    with open(read, "rb") as answer:
        pid = int(answer.read() or -1)
    os.waitpid(between, 0)
    return pid


def _become_run(arguments: list[str], log: str, study: int) -> None:
    """Make of a forked process what `subprocess.Popen` makes of one that the study starts itself."""
    os.setpgid(0, 0)
    stop_with_parent()
    if os.getppid() != study:
        os._exit(0)  # the study ended meanwhile
    for stream, opened in ((0, os.open(os.devnull, os.O_RDONLY)), (1, os.open(log, os.O_WRONLY | os.O_APPEND))):
        os.dup2(opened, stream)
        os.close(opened)
    os.dup2(1, 2)
    sys.argv = [entry.__file__ if "-m" in TRAIN else TRAIN[-1], *arguments]
    _show_command([*TRAIN, *arguments])


def _show_command(words: list[str]) -> None:
    """Write a command over that of this process where `ps` reads it, so that the run can be found by it."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = int(fields[45]), int(fields[46])  # arg_start and arg_end, fields 48 and 49 of proc(5)
    text = b"".join(word.encode() + b"\0" for word in words)[: end - begin - 1]
    ctypes.memset(begin, 0, end - begin)
    ctypes.memmove(begin, text, len(text))
