"""Callbacks that do to a run what a machine can do, at a chosen moment."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
from pathlib import Path

import torch

from tests.exactness.killer import At


class FillDisk(At):
    """Fills the file system of a folder by a file in it, but for so many bytes."""

    def __init__(self, hook: str, time: int, folder: str, leave: int) -> None:
        super().__init__(hook, time)
        self.folder, self.leave = folder, leave

    def strike(self) -> None:
        disk = os.statvfs(self.folder)
        (Path(self.folder) / "filler").write_bytes(bytes(disk.f_bavail * disk.f_bsize - self.leave))


class LimitFiles(At):
    """Lets no file of this process grow beyond so many bytes: what a full disk does to large ones, on any machine."""

    def __init__(self, hook: str, time: int, largest: int) -> None:
        super().__init__(hook, time)
        self.largest = largest

    def strike(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.largest, resource.RLIM_INFINITY))


class KillWorkers(At):
    """Kills the loader processes of this one, as the system does when memory runs out."""

    def strike(self) -> None:
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)


class TakeMemory(At):
    """Asks torch for more memory than any machine has."""

    def strike(self) -> None:
        torch.empty(10**15)
