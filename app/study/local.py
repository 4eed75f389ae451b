"""Cells on this machine: so many at a time, the cores divided between them, each a process with a log of its own."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from app.study.cells import DONE, checkpoint_of, last_words, note_failure, state_of
from app.study.plan import TRAIN, Cell

_POLL_S = 0.2
_ENDS = (0, 4)  # exit statuses of a run that came to its end, and of one that diverged


@dataclass
class Running:
    """A cell that is being run."""

    cell: Cell
    process: subprocess.Popen[bytes]
    since: float = field(default_factory=time.monotonic)


def threads_each(jobs: int) -> int:
    """Cores divided between jobs; more threads than cores would wait for each other."""
    return max(1, len(os.sched_getaffinity(0)) // jobs)


def run_cells(
    cells: Sequence[Cell],
    retries: int,
    jobs: int,
    say: Callable[[str], None],
    look: Callable[[Sequence[Running]], None] = lambda running: None,
) -> None:
    """Run what is not done yet; one that fails does not stop the others.

    A SIGTERM or Ctrl-C, passed on, lets the runs write their checkpoints; if this process is killed, its runs are
    stopped by the kernel (Linux), so that the same study started again finds none in use.

    Args:
        cells: in the order in which they are to be run.
        retries: how often a cell that failed is tried again.
        jobs: how many run at a time.
        say: takes a line for each cell that begins or ends.
        look: called again and again with what is running, for a table.
    """
    waiting = [cell for cell in cells if state_of(cell, retries) not in (*DONE, "failed")]
    threads, running = threads_each(jobs), list[Running]()
    say(f"{len(waiting)} of {len(cells)} cells to run, {jobs} at a time, {threads} threads each")
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(_start(waiting.pop(0), threads, say))
            time.sleep(_POLL_S)
            look(running)
            for job in [job for job in running if job.process.poll() is not None]:
                running.remove(job)
                if _ended(job, retries, say):
                    waiting.insert(0, job.cell)
    finally:
        _stop(running)


def _start(cell: Cell, threads: int, say: Callable[[str], None]) -> Running:
    cell.root.mkdir(parents=True, exist_ok=True)
    goes_on = checkpoint_of(cell) is not None
    command = [sys.executable, str(TRAIN), "fit", *cell.arguments, *(["--ckpt_path", "last"] if goes_on else [])]
    counts = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    say(f"{'going on' if goes_on else 'started'}: {cell.name}; log {cell.root / 'log.txt'}")
    with open(cell.root / "log.txt", "ab") as log:
        log.write(f"$ {cell.command}\n".encode())
        log.flush()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **counts},
            preexec_fn=_die_with_parent,
            process_group=0,  # Ctrl-C reaches the study alone, which passes it on
        )
    return Running(cell, process)


def _ended(job: Running, retries: int, say: Callable[[str], None]) -> bool:
    """Whether the cell is to be tried again."""
    status, minutes = job.process.returncode, (time.monotonic() - job.since) / 60
    if status in _ENDS:
        say(f"{state_of(job.cell, retries)}: {job.cell.name}, {minutes:.1f} minutes")
        return False
    note_failure(job.cell, status)
    again = state_of(job.cell, retries) != "failed"
    what = "failed, trying again" if again else "failed"
    say(f"{what}: {job.cell.name}, exit status {status}: {last_words(job.cell)}")
    return again


def _stop(running: Sequence[Running]) -> None:
    for job in running:
        job.process.terminate()
    for job in running:
        try:
            job.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            job.process.kill()
            job.process.wait()


def _die_with_parent() -> None:
    """Between fork and exec: ask the kernel for SIGTERM when the study is gone."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
