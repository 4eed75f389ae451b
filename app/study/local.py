"""LocalEngine: runs trials on this machine, each in its own process with its own log."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys

from app.installation import TRAIN
from app.study.launch import Engine, Job
from app.study.plan import Trial


class LocalEngine(Engine):
    """Runs trials as child processes, which share the cores; Linux stops them if the study is killed.

    Args:
        jobs: the number of trials that run in parallel.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.threads = max(1, len(os.sched_getaffinity(0)) // jobs)  # more threads than cores would wait for each other

    @property
    def description(self) -> str:
        """The number of jobs and threads."""
        return f"{self.jobs} in parallel, {self.threads} threads each"

    def has_room(self, jobs: int) -> bool:
        """Whether fewer than `jobs` run."""
        return jobs < self.jobs

    def start(self, trial: Trial) -> Job:
        """Start the trial's process."""
        return _LocalJob(trial, self.threads)


class _LocalJob(Job):
    def __init__(self, trial: Trial, threads: int) -> None:
        super().__init__(trial)
        self._process = start_process(trial, threads)

    def has_started(self) -> bool:
        return True

    def exit_status(self) -> int | None:
        return self._process.poll()

    def terminate(self) -> None:
        self._process.terminate()

    def wait(self, seconds: float) -> None:
        end_process(self._process, seconds)


def start_process(trial: Trial, threads: int) -> subprocess.Popen[bytes]:
    """Start a trial's run, or resume it; if the calling process dies, the run is told to stop (Linux).

    Args:
        trial: the trial; the output of its process goes to its log.
        threads: number of threads that it computes with.
    """
    command = [*TRAIN, "fit", *trial.arguments]
    counts = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    with open(trial.log, "ab") as file:
        file.write(f"$ {trial.command}\n".encode())
        file.flush()
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **counts},
            preexec_fn=_die_with_parent,
            process_group=0,  # Ctrl-C reaches the study alone, which passes it on
        )


def end_process(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for a process that was told to end; kill it after the given number of seconds."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _die_with_parent() -> None:
    """Between fork and exec: ask the kernel for SIGTERM when the study is gone."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
