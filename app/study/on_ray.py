"""Cells on a Ray cluster, or on this machine by a Ray of its own: Ray decides where and when there is room.

The machines of a cluster share the folder that the study is started in, at one path, and have the same environment: a
cell is a process there, and what it has written is all that the study reads.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

from app.errors import InputError
from app.study.cells import remark
from app.study.launch import Engine, Job
from app.study.local import end_process, start_process
from app.study.plan import TRAIN, Cell

REQUIREMENT = "ray==2.60.0"
_KILLED = -9  # what a run's status is called whose machine or worker is gone
_STOPPED = 143
_GRACE_S = 60
_REACH_S = 10


class RayEngine(Engine):
    """All cells are given to Ray, which runs as many at a time as their needs leave room for.

    Args:
        address: of a cluster, `auto` for the one that this machine is part of; None starts a Ray here.
        cpus: whole ones for each cell, as many threads.
        gpus: for each cell; a fraction lets several share one.

    Raises:
        InputError: without Ray, without a cluster at the address, and for needs that no machine here can meet.
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
            _reach(address)
        paths = os.pathsep.join([str(TRAIN.parent), os.environ.get("PYTHONPATH", "")])
        try:
            ray.init(
                address or "local",
                runtime_env={"env_vars": {"PYTHONPATH": paths}},  # where workers find this module
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level="error",
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            first = str(error).strip().splitlines()[0]
            raise InputError(
                f"--address {address}: no Ray cluster ({first}); start one with ray start --head"
            ) from error
        self._check()
        self._run = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(_run)

    def _check(self) -> None:
        machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        for name, kind, asked in (("--cpus", "CPU", self.cpus), ("--gpus", "GPU", self.gpus)):
            most = max(machine.get(kind, 0) for machine in machines)
            if asked > most:
                self._ray.shutdown()
                raise InputError(f"{name} is {asked:g}; no machine of this Ray has more than {most:g}: ask for less")

    @property
    def description(self) -> str:
        """Needs of each cell."""
        gpus = f" and {self.gpus:g} GPUs" if self.gpus else ""
        return f"by Ray, as many at a time as have room, {self.cpus} CPUs (threads){gpus} each"

    def has_room(self, jobs: int) -> bool:
        """Always: Ray keeps what has to wait."""
        return True

    def start(self, cell: Cell) -> Job:
        """As soon as Ray has room."""
        return _RayJob(self._ray, self._run, cell, self.cpus)


class _RayJob(Job):
    def __init__(self, ray: Any, run: Any, cell: Cell, threads: int) -> None:
        super().__init__(cell)
        self._ray = ray
        self._before = _size(cell.log)
        self._task = run.remote(cell, threads, self.goes_on, Path.cwd())

    def has_begun(self) -> bool:
        return _size(self.cell.log) > self._before  # a cell's first act is a line in its log

    def exit_status(self) -> int | None:
        ready, _ = self._ray.wait([self._task], timeout=0)
        return self._status() if ready else None

    def terminate(self) -> None:
        self._ray.cancel(self._task)

    def wait(self, seconds: float) -> None:
        self._ray.wait([self._task], timeout=seconds)

    def _status(self) -> int:
        try:
            status: int = self._ray.get(self._task)
        except self._ray.exceptions.TaskCancelledError:
            return _STOPPED
        except self._ray.exceptions.RayError as error:
            remark(self.cell, f"lost by Ray: {str(error).strip().splitlines()[0]}")
            return _KILLED
        return status


def _run(cell: Cell, threads: int, goes_on: bool, folder: Path) -> int:
    """What a worker of Ray does: the cell's process, and its exit status. Cancelling raises KeyboardInterrupt here."""
    process = start_process(cell, threads, goes_on, folder)
    try:
        while process.poll() is None:
            time.sleep(0.1)  # not process.wait(): an interrupt would not get through
    finally:
        if process.poll() is None:
            process.terminate()
            end_process(process, _GRACE_S)
    return process.returncode


def _reach(address: str) -> None:
    """Ray itself would look for a machine that does not answer for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_REACH_S).close()
    except OSError as error:
        raise InputError(f"--address {address}: no Ray ({error}); ray start --head starts one") from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
