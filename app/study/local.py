"""LocalEngine: runs trials on this machine, each in its own process with its own log."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

from app.errors.stop_signals import stop_with_parent
from app.installation import TRAIN
from app.study.forked import ForkedProcess, ForkServer
from app.study.launch import Engine, Job
from app.study.plan import Trial
from app.study.trials import remark

Process = subprocess.Popen[bytes] | ForkedProcess


class LocalEngine(Engine):
    """Runs trials as child processes, which share the cores; Linux stops them if the study is killed.

    On Linux they are forked from a process that has imported everything, elsewhere started one by one.

    Args:
        jobs: the number of trials that run in parallel.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._server: ForkServer | None = None
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
        return _LocalJob(trial, self._start)

    def close(self) -> None:
        """End the fork server."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def _start(self, trial: Trial) -> Process:
        if sys.platform == "linux":
            self._server = self._server or ForkServer(_environment(self.threads))
            remark(trial, f"$ {trial.command}")
            if (process := self._server.start(["fit", *trial.arguments], trial.log)) is not None:
                return process
            self.close()
        return start_process(trial, self.threads)


class _LocalJob(Job):
    def __init__(self, trial: Trial, start: Callable[[Trial], Process]) -> None:
        super().__init__(trial)
        self._process = start(trial)

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
    remark(trial, f"$ {trial.command}")
    with open(trial.log, "ab") as file:
        return subprocess.Popen(
            [*TRAIN, "fit", *trial.arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=_environment(threads),
            preexec_fn=stop_with_parent,
            process_group=0,  # Ctrl-C reaches the study alone, which passes it on
        )


def _environment(threads: int) -> dict[str, str]:
    """The environment of a trial that computes with the given number of threads."""
    return {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))}


def end_process(process: Process, seconds: float) -> None:
    """Wait for a process that was told to end; kill it after the given number of seconds."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
