"""RayEngine: runs trials on a Ray cluster, or on a Ray started on this machine, which decides where and when.

The machines of a cluster must share the folder that the study is started in, at the same path, and have the same
environment: a trial is a process there, and the study reads only the files that it writes.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from app.errors import InputError
from app.installation import ROOT
from app.study.launch import Engine, Job
from app.study.local import end_process, start_process
from app.study.plan import Trial
from app.study.trials import DONE, is_running, remark, state_of

REQUIREMENT = "ray==2.60.0"
_KILLED = -9  # reported for a run whose machine or worker is gone
_STOPPED = 143
_GRACE_S = 60
_REACH_S = 10
_NICENESS = "RAY_worker_niceness"


class RayEngine(Engine):
    """Submits all trials to Ray, which runs as many in parallel as their resources allow.

    Args:
        address: address of a cluster; `auto` for the one that this machine belongs to, None to start Ray here.
        cpus: number of CPUs for each trial, and of its threads.
        gpus: number of GPUs for each trial; with a fraction, several trials share one.

    Raises:
        InputError: without Ray, without a cluster at the address, and for resources that no machine has.
    """

    def __init__(self, address: str | None, cpus: int, gpus: float) -> None:
        self.cpus, self.gpus = cpus, gpus
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise InputError(f"--engine ray needs Ray, which is not installed: pip install {REQUIREMENT}") from error
        self._ray = ray
        if address is not None:
            _check_reachable(address)
        # workers must find this module; and all trials would share a GPU that none has requested
        variables = {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        # Ray runs its workers, hence their trials, at niceness 15: next to a busy process they would hardly advance
        variables[_NICENESS] = os.environ.get(_NICENESS, "0")
        variables |= {} if gpus else {"CUDA_VISIBLE_DEVICES": ""}
        try:
            ray.init(
                address or "local",
                runtime_env={"env_vars": variables},
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level="error",
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            why = " ".join(str(error).split()) or type(error).__name__
            if address is None:
                raise InputError(f"Ray cannot be started here: {why}") from error
            raise InputError(
                f"--address {address}: no Ray cluster answers ({why}); start one with ray start --head"
            ) from error
        self._check()
        self._run = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(_run)

    def _check(self) -> None:
        machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        for name, kind, asked in (("--cpus", "CPU", self.cpus), ("--gpus", "GPU", self.gpus)):
            most = max((machine.get(kind, 0) for machine in machines), default=0)
            if asked > most:
                self._ray.shutdown()
                raise InputError(
                    f"{name} is {asked:g}; no machine of this Ray cluster has more than {most:g}; request less"
                )
        if not any(machine.get("CPU", 0) >= self.cpus and machine.get("GPU", 0) >= self.gpus for machine in machines):
            self._ray.shutdown()
            raise InputError(
                f"no machine of this Ray cluster has both {self.cpus} CPUs and {self.gpus:g} GPUs; request less"
            )

    @property
    def description(self) -> str:
        """The resources of each trial."""
        gpus = f" and {self.gpus:g} GPUs" if self.gpus else ""
        return f"on Ray, as many in parallel as fit, {self.cpus} CPUs (threads){gpus} each"

    def has_room(self, jobs: int) -> bool:
        """Always true: Ray queues the trials that have to wait."""
        return True

    def start(self, trial: Trial) -> Job:
        """Submit the trial, which starts as soon as Ray has room."""
        return _RayJob(self._ray, self._run, trial, self.cpus)


class _RayJob(Job):
    def __init__(self, ray: Any, run: Any, trial: Trial, threads: int) -> None:
        super().__init__(trial)
        self._ray = ray
        self._before = _size(trial.log)
        self._task = run.remote(trial, threads, Path.cwd())

    def has_started(self) -> bool:
        return _size(self.trial.log) > self._before  # a trial starts by writing a line to its log

    def exit_status(self) -> int | None:
        ready, _ = self._ray.wait([self._task], timeout=0)
        return self._status() if ready else None

    def terminate(self) -> None:
        self._ray.cancel(self._task)

    def wait(self, seconds: float) -> None:
        ready, _ = self._ray.wait([self._task], timeout=seconds)
        if not ready:
            self._ray.cancel(self._task, force=True)

    def _status(self) -> int:
        try:
            status: int = self._ray.get(self._task)
        except self._ray.exceptions.TaskCancelledError:
            return _STOPPED
        except self._ray.exceptions.RayTaskError as error:  # raised in the worker: its last line says what it was
            remark(self.trial, f"failed on its machine: {str(error).strip().splitlines()[-1]}")
            return _KILLED
        except self._ray.exceptions.RayError as error:
            remark(self.trial, f"lost by Ray: {str(error).strip().splitlines()[0]}")
            return _KILLED
        return status


def _run(trial: Trial, threads: int, folder: Path) -> int:
    """Run a trial in a worker of Ray, in the folder of the study, and return its exit status.

    Cancelling raises KeyboardInterrupt here. The state of the trial is read here, because it may have been queued.
    """
    if not (folder / trial.root).is_dir():
        raise FileNotFoundError(
            f"{folder / trial.root} does not exist: the machines of a cluster must share the study's folder"
        )
    os.chdir(folder)
    while is_running(trial):  # by another study, or a run of a killed study that writes its checkpoint
        time.sleep(1.0)
    if state_of(trial, retries=sys.maxsize) in DONE:
        return 0
    process = start_process(trial, threads)
    try:
        while process.poll() is None:
            time.sleep(0.1)  # not process.wait(), which an interrupt would not end
    finally:
        if process.poll() is None:
            process.terminate()
            end_process(process, _GRACE_S)
    return process.returncode


def _check_reachable(address: str) -> None:
    """Check that a machine answers at the address, which Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_REACH_S).close()
    except OSError as error:
        raise InputError(
            f"--address {address}: no Ray cluster answers ({error}); start one with ray start --head"
        ) from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
