"""A signal ends a run where it can go on; a second run on a folder in use is refused."""

import os
import signal
import subprocess
import sys

import pytest

from app.cli.main import main
from tests.conftest import ROOT, only_run, read_result
from tests.exactness.compare import differences
from tests.processes import started, wait_until

pytestmark = pytest.mark.slow
SETTINGS = [
    "--trainer.max_epochs=25", "--trainer.log_every_n_steps=5", "--data.batch_tokens=150", "--data.val_fraction=0.2",
    "--model.backbone.options.hidden_size=32", "--model.backbone.options.num_hidden_layers=2", "--plots=false",
]  # fmt: skip


def arguments(root, source):
    cache = root.parent / "cache"
    places = [f"--data.source={source}", f"--data.cache_dir={cache}", f"--run_root={root}"]
    return ["fit", "--config", str(ROOT / "configs/quickstart.yaml"), *SETTINGS, *places]


def start(root, source, *more):
    return started(
        [sys.executable, str(ROOT / "train.py"), *arguments(root, source), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for_training(root, process):
    """Until the run has written its first metrics."""
    wait_until(lambda: any(path.stat().st_size for path in root.rglob("metrics.jsonl")), process)


def test_a_signal_stops_the_run_where_it_can_go_on(tmp_path, tiny_texts):
    root = tmp_path / "runs"
    with start(root, tiny_texts) as process:
        wait_for_training(root, process)
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 143, error
    assert "--ckpt_path last" in error and "Traceback" not in error
    assert read_result(only_run(root))["status"] == "stopped"
    assert main([*arguments(root, tiny_texts), "--ckpt_path=last"]) == 0
    assert main(arguments(tmp_path / "untouched", tiny_texts)) == 0
    assert differences(only_run(tmp_path / "untouched"), only_run(root)) == []


def test_a_folder_in_use_is_refused(tmp_path, tiny_texts, capsys):
    root = tmp_path / "runs"
    with start(root, tiny_texts, "--trainer.max_epochs=9999") as first:
        wait_for_training(root, first)
        assert main(arguments(root, tiny_texts)) == 2
        assert f"in use by process {first.pid}" in capsys.readouterr().err
        assert first.poll() is None, "the first run must not notice"
