"""Ways to start train.py in processes of its own: as a person would, and a fast way that imports everything once."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import socket
import subprocess
import sys
import time
import traceback
from multiprocessing.connection import wait
from pathlib import Path

from tests.conftest import ROOT

SEVERAL = ["--trainer.strategy=ddp", "--trainer.accelerator=cpu"]
_TIMEOUT = 300
_ports = itertools.count()

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["app.cli.main", "app.datamodules", "app.tasks", "transformers", "datasets"])


def by_lightning(arguments: list[str], processes: int, log: Path) -> bool:
    """`python train.py ... --trainer.devices N`; whether it succeeded."""
    several = [*SEVERAL, f"--trainer.devices={processes}"] if processes > 1 else []
    return _command([sys.executable, str(ROOT / "train.py"), *arguments, *several], log)


def by_torchrun(arguments: list[str], processes: int, log: Path) -> bool:
    """`torchrun --nproc_per_node N train.py ...`; whether it succeeded."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    return _command([*launcher, str(ROOT / "train.py"), *arguments, *SEVERAL], log)


def by_fork(arguments: list[str], processes: int, log: Path) -> bool:
    """What torchrun gives its processes, without the seconds that each would take to import; whether all succeeded."""
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(processes)}
    common |= {"LOCAL_WORLD_SIZE": str(processes), "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "none"}
    started = []
    for rank in range(processes):
        environment = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {}
        several = SEVERAL if processes > 1 else []
        started.append(_forks.Process(target=_run, args=([*arguments, *several], environment, f"{log}.{rank}")))
        started[-1].start()
    deadline = time.monotonic() + _TIMEOUT
    running = [process.sentinel for process in started]
    while running and time.monotonic() < deadline and all(process.exitcode in (0, None) for process in started):
        ended = wait(running, timeout=1)
        running = [sentinel for sentinel in running if sentinel not in ended]
    for process in started:  # those that wait for one that was killed
        process.kill()
        process.join()
    log.write_text("".join(Path(f"{log}.{rank}").read_text() for rank in range(processes)))
    return all(process.exitcode == 0 for process in started)


def _free_port() -> int:
    """Below those that the system gives to connections, one of which might be first; others for each test process."""
    while True:
        port = 20_000 + (os.getpid() * 97 + next(_ports)) % 10_000
        with socket.socket() as free:
            if free.connect_ex(("127.0.0.1", port)):
                return port


def _run(arguments: list[str], environment: dict[str, str], log: str) -> None:
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    from app.cli.main import main

    try:
        status = main(arguments)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # without waiting for the other processes


def _command(command: list[str], log: Path) -> bool:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with log.open("w") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment, timeout=_TIMEOUT)
    return done.returncode == 0
