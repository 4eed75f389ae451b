"""Run the trials of a study on any engine: start, display, retry, stop."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

from app.study.plan import Trial
from app.study.trials import DONE, checkpoint_of, is_running, last_log_line, note_failure, state_of

_POLL_S = 0.2
_STOP_S = 75  # the time that all runs together have to write their checkpoints
_ENDS = (0, 4)  # exit statuses of a run that finished and of one that diverged


class Job(ABC):
    """A trial that an engine has accepted.

    Args:
        trial: the trial to run; its folder, which holds its log and its failures, is created.
    """

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.started_at: float | None = None
        trial.root.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def has_started(self) -> bool:
        """Whether its process runs or has run; an engine may queue a job until there is room."""

    @abstractmethod
    def exit_status(self) -> int | None:
        """The exit status of the run; None until it has ended."""

    @abstractmethod
    def terminate(self) -> None:
        """Ask the run to write a checkpoint and end, without waiting for it."""

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Wait until the run has ended; kill it after the given number of seconds."""


class Engine(ABC):
    """Runs trials: on this machine or elsewhere."""

    @property
    @abstractmethod
    def description(self) -> str:
        """How many trials run in parallel, and with what, for the log."""

    @abstractmethod
    def has_room(self, jobs: int) -> bool:
        """Whether it accepts another job when it has the given number of jobs."""

    @abstractmethod
    def start(self, trial: Trial) -> Job:
        """Accept a trial, and run it at once or when there is room."""

    def close(self) -> None:  # noqa: B027  # most hold nothing
        """Release what the engine holds, when no trial runs any more."""


def run_trials(
    needed: Callable[[], Sequence[Trial]],
    retries: int,
    engine: Engine,
    log: Callable[[str], None],
    refresh: Callable[[Sequence[Job]], None],
) -> None:
    """Run the trials that are not done, and those that are needed because of them; a failed one does not stop others.

    SIGTERM and Ctrl-C are passed on, so that the runs write their checkpoints.

    Args:
        needed: gives the trials in the order in which they start, as far as results on disk can say; asked again
            whenever one has ended.
        retries: how often a failed trial is retried.
        engine: the engine that runs them.
        log: prints a line for each trial that starts or ends.
        refresh: updates a display; called repeatedly with the jobs that have started.
    """
    known = needed()
    waiting = _to_run(known, retries)
    jobs: list[Job] = []
    settled: set[Path] = set()  # the runs that have ended here, whatever they have left on disk
    elsewhere: set[str] = set()  # trials that other processes run when no other is left
    log(f"{len(waiting)} of {len(known)} trials to run, {engine.description}")
    try:
        while waiting or jobs:
            while engine.has_room(len(jobs)) and (trial := _next_free(waiting, retries)) is not None:
                jobs.append(engine.start(trial))
            if not jobs and (held := {trial.name for trial in waiting}) - elsewhere:
                elsewhere |= held
                log(f"waiting for trials that other processes run: {', '.join(sorted(held))}")
            time.sleep(_POLL_S)
            has_news = False
            for job in list(jobs):
                _log_start(job, log)
                status = job.exit_status()
                if status is not None:
                    jobs.remove(job)
                    has_news = True
                    if not _is_retried(job, status, retries, log):
                        settled.add(job.trial.root)
            if has_news or not (waiting or jobs):
                before, known = len(known), needed()
                if len(known) > before:
                    log(f"trials to run that those that have ended choose: {len(known) - before}")
                taken = settled | {job.trial.root for job in jobs}
                waiting = [trial for trial in _to_run(known, retries) if trial.root not in taken]
            refresh([job for job in jobs if job.started_at is not None])
    finally:
        for job in jobs:
            job.terminate()
        deadline = time.monotonic() + _STOP_S
        for job in jobs:
            job.wait(max(0.0, deadline - time.monotonic()))


def _to_run(trials: Sequence[Trial], retries: int) -> list[Trial]:
    return [trial for trial in trials if state_of(trial, retries) not in (*DONE, "failed")]


def _next_free(waiting: list[Trial], retries: int) -> Trial | None:
    """Take a trial that no process runs: another study may, or a run of a killed study that writes its checkpoint."""
    for trial in list(waiting):
        if state_of(trial, retries) in (*DONE, "failed"):
            waiting.remove(trial)
        elif not is_running(trial):
            waiting.remove(trial)
            return trial
    return None


def _log_start(job: Job, log: Callable[[str], None]) -> None:
    if job.started_at is None and job.has_started():
        job.started_at = time.monotonic()
        resumes = checkpoint_of(job.trial) is not None
        log(f"{'resumed' if resumes else 'started'}: {job.trial.name}; log {job.trial.log}")


def _is_retried(job: Job, status: int, retries: int, log: Callable[[str], None]) -> bool:
    minutes = (time.monotonic() - (job.started_at or time.monotonic())) / 60
    if status in _ENDS:
        log(f"{state_of(job.trial, retries)}: {job.trial.name}, {minutes:.1f} minutes")
        return False
    note_failure(job.trial, status)
    again = state_of(job.trial, retries) != "failed"
    what = "failed, retrying" if again else "failed"
    log(f"{what}: {job.trial.name}, exit status {status}: {last_log_line(job.trial)}")
    return again
