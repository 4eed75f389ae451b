"""Run the trials of a study, whatever engine they run on: start, display, try again, stop."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from app.study.plan import Trial
from app.study.trials import DONE, checkpoint_of, is_running, last_log_line, note_failure, state_of

_POLL_S = 0.2
_STOP_S = 75  # for all runs together to write their checkpoints
_ENDS = (0, 4)  # exit statuses of a run that came to its end, and of one that diverged


class Job(ABC):
    """A trial that an engine has taken.

    Args:
        trial: that is to be run; its folder is made, in which its log and its failures are written.
    """

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.begun_at: float | None = None
        trial.root.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def has_begun(self) -> bool:
        """Whether its process runs, or has run; an engine may keep a job until there is room."""

    @abstractmethod
    def exit_status(self) -> int | None:
        """Of the run; None until it has ended."""

    @abstractmethod
    def terminate(self) -> None:
        """Ask the run to write a checkpoint and end; returns at once."""

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Until the run has ended; what still runs after so many seconds is killed."""


class Engine(ABC):
    """Where trials run."""

    @property
    @abstractmethod
    def description(self) -> str:
        """How many at a time, with what, for the log."""

    @abstractmethod
    def has_room(self, jobs: int) -> bool:
        """Whether it takes one more job beside so many."""

    @abstractmethod
    def start(self, trial: Trial) -> Job:
        """Take a trial, to be run at once or when there is room."""


def run_trials(
    trials: Sequence[Trial],
    retries: int,
    engine: Engine,
    say: Callable[[str], None],
    look: Callable[[Sequence[Job]], None] = lambda jobs: None,
) -> None:
    """Run what is not done yet; one that fails does not stop the others.

    A SIGTERM or Ctrl-C, passed on, lets the runs write their checkpoints.

    Args:
        trials: in the order in which they are to be run.
        retries: how often a trial that failed is tried again.
        engine: that runs them.
        say: takes a line for each trial that begins or ends.
        look: called again and again with the jobs that have begun, for a table.
    """
    waiting = [trial for trial in trials if state_of(trial, retries) not in (*DONE, "failed")]
    jobs: list[Job] = []
    elsewhere: set[str] = set()  # trials that another process had when nothing else was left to do
    say(f"{len(waiting)} of {len(trials)} trials to run, {engine.description}")
    try:
        while waiting or jobs:
            while engine.has_room(len(jobs)) and (trial := _next_free(waiting, retries)) is not None:
                jobs.append(engine.start(trial))
            if not jobs and (held := {trial.name for trial in waiting}) - elsewhere:
                elsewhere |= held
                say(f"waiting for what other processes run: {', '.join(sorted(held))}")
            time.sleep(_POLL_S)
            for job in list(jobs):
                _say_when_begun(job, say)
                status = job.exit_status()
                if status is not None:
                    jobs.remove(job)
                    if _is_to_be_tried_again(job, status, retries, say):
                        waiting.insert(0, job.trial)
            look([job for job in jobs if job.begun_at is not None])
    finally:
        for job in jobs:
            job.terminate()
        deadline = time.monotonic() + _STOP_S
        for job in jobs:
            job.wait(max(0.0, deadline - time.monotonic()))


def _next_free(waiting: list[Trial], retries: int) -> Trial | None:
    """Take a trial that no process has: another study may, or the run of a killed one that writes its checkpoint."""
    for trial in list(waiting):
        if state_of(trial, retries) in (*DONE, "failed"):
            waiting.remove(trial)
        elif not is_running(trial):
            waiting.remove(trial)
            return trial
    return None


def _say_when_begun(job: Job, say: Callable[[str], None]) -> None:
    if job.begun_at is None and job.has_begun():
        job.begun_at = time.monotonic()
        goes_on = checkpoint_of(job.trial) is not None
        say(f"{'going on' if goes_on else 'started'}: {job.trial.name}; log {job.trial.log}")


def _is_to_be_tried_again(job: Job, status: int, retries: int, say: Callable[[str], None]) -> bool:
    minutes = (time.monotonic() - (job.begun_at or time.monotonic())) / 60
    if status in _ENDS:
        say(f"{state_of(job.trial, retries)}: {job.trial.name}, {minutes:.1f} minutes")
        return False
    note_failure(job.trial, status)
    again = state_of(job.trial, retries) != "failed"
    what = "failed, trying again" if again else "failed"
    say(f"{what}: {job.trial.name}, exit status {status}: {last_log_line(job.trial)}")
    return again
