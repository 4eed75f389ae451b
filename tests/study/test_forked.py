"""A trial that is forked is the process that its command line would have started: its numbers, status and signals."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from app.installation import TRAIN
from app.study.forked import ForkServer
from tests.conftest import ROOT, only_run
from tests.exactness.cases import CASES

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere trials are started one by one")
CASE = CASES["classification"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def server():
    server = ForkServer(ENVIRONMENT)
    yield server
    server.close()


def fit(tiny_texts, root, *more):
    settings = [*CASE.arguments(tiny_texts), f"--data.cache_dir={root / 'cache'}", f"--run_root={root / 'runs'}"]
    return ["fit", "--config", str(ROOT / CASE.config), *settings, "--trainer.max_epochs=1", *more]


def wait_for(condition):
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def read(pid, name):
    return Path(f"/proc/{pid}/{name}").read_bytes()


def test_a_forked_run_is_that_of_its_command_line_bit_for_bit(server, tiny_texts, tmp_path):
    forked, typed = (fit(tiny_texts, tmp_path / name) for name in ("forked", "typed"))
    (tmp_path / "forked").mkdir()
    (tmp_path / "log").touch()
    process = server.start(forked, tmp_path / "log")
    assert process.wait(300) == 0
    subprocess.run([*TRAIN, *typed], check=True, env=ENVIRONMENT, capture_output=True)
    one, other = (only_run(tmp_path / name) for name in ("forked", "typed"))
    weights = [torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for run in (one, other)]
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())
    assert (one / "test_examples.parquet").is_file() == (other / "test_examples.parquet").is_file()


def test_a_forked_run_has_the_status_signals_and_place_of_a_child(server, tiny_texts, tmp_path):
    log = tmp_path / "log"
    log.touch()
    assert server.start(["fit", "--config", "nowhere.yaml"], log).wait(300) == 2
    assert "error: " in log.read_text() and "nowhere.yaml" in log.read_text()
    assert Path(f"/proc/{server._process.pid}/task").is_dir()
    assert len(os.listdir(f"/proc/{server._process.pid}/task")) == 1, "a fork would lose the server's other threads"

    arguments = fit(tiny_texts, tmp_path, "--trainer.max_epochs=1000")
    for number, status in ((signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)):
        process = server.start(arguments, log)
        wait_for(lambda: (tmp_path / "runs").is_dir() and list((tmp_path / "runs").rglob("metrics.jsonl")))
        assert process.poll() is None
        words = [word.encode() for word in [*TRAIN, *arguments]]
        wait_for(lambda: read(process.pid, "cmdline").rstrip(b"\0").split(b"\0") == words)  # noqa: B023
        assert (
            os.getpgid(process.pid) == process.pid and read(process.pid, "stat").split()[3] == str(os.getpid()).encode()
        )
        os.kill(process.pid, number)
        assert process.wait(300) == status == process.poll()


def test_without_its_server_a_trial_is_not_forked(server, tmp_path):
    os.kill(server._process.pid, signal.SIGKILL)
    assert server.start(["fit"], tmp_path / "log") is None
