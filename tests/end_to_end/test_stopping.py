"""A signal ends every phase of every command in the same way, and nothing that a run has recorded is lost."""

import os
import shutil
import signal

import pytest

from app.runs.metrics_file import read_events
from app.tasks import Classification
from tests.conftest import only_run, read_result
from tests.exactness.cases import CASES
from tests.exactness.compare import differences

CASE = CASES["classification"]
CONSTANT = ["--model.optimizer.schedule=constant"]  # whose run may become longer


@pytest.fixture
def fit(train, tiny_texts):
    """Call fit for a tiny run, with a signal at a moment: a hook of Lightning's callbacks and which call of it."""

    def call(*arguments, number=None, at=("on_fit_start", 1)):
        hook, time = at
        sender = ["--trainer.callbacks+=tests.exactness.killer.SignalAt", f"--trainer.callbacks.hook={hook}"]
        sender += [f"--trainer.callbacks.time={time}", f"--trainer.callbacks.number={number}"]
        settings = [*CASE.arguments(tiny_texts), "--trainer.max_epochs=2", "--ckpt_path=last"]
        return train("fit", CASE.config, *settings, *arguments, *(sender if number else []))

    return call


def test_a_signal_in_any_phase_of_fit_leaves_what_the_next_start_needs(fit, train, tmp_path, capsys):
    def last_line():
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return captured.err.splitlines()[-1]

    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    assert fit("--run_root=untouched") == 0

    assert fit(number=signal.SIGTERM) == 143
    assert last_line() == "stopped by SIGTERM before training; start the same command again"
    assert not list((tmp_path / "runs").rglob("*.json*"))

    assert fit(number=signal.SIGINT, at=("on_train_batch_end", 2)) == 130
    assert last_line() == "stopped by SIGINT in training; resume with --ckpt_path last"
    run = only_run(tmp_path / "runs")
    assert read_result(run)["status"] == "stopped"

    assert fit(number=signal.SIGTERM, at=("on_validation_batch_end", 1)) == 143
    assert last_line().startswith("stopped by SIGTERM in training; resume")
    assert not any("val/loss" in event for event in read_events(run))
    assert fit(number=signal.SIGINT, at=("on_validation_batch_end", 3)) == 130  # the last epoch's
    assert len([event for event in read_events(run) if "val/loss" in event]) == 1

    assert fit(number=signal.SIGTERM, at=("on_train_end", 1)) == 143
    assert last_line().startswith("stopped by SIGTERM in training; resume")

    assert fit(number=signal.SIGINT, at=("on_fit_end", 1)) == 130
    assert fit(number=signal.SIGTERM, at=("on_test_batch_end", 1)) == 143
    assert last_line().startswith("stopped by SIGTERM in the test; resume with --ckpt_path last, which tests")
    assert read_result(run)["status"] == "untested" and read_result(run)["test"] is None

    trained = (run / "metrics.jsonl").read_bytes(), (run / "checkpoints/last.ckpt").read_bytes()
    assert fit() == 0
    assert trained == ((run / "metrics.jsonl").read_bytes(), (run / "checkpoints/last.ckpt").read_bytes())
    assert read_result(run)["status"] == "finished" and read_result(run)["test"]
    assert differences(only_run(tmp_path / "untouched"), run) == []
    config = [run / "config.yaml", "--trainer.callbacks+=tests.exactness.killer.SignalAt"]
    config += ["--trainer.callbacks.hook=on_test_batch_end", "--trainer.callbacks.time=1"]
    assert train("test", *config, f"--trainer.callbacks.number={signal.SIGTERM}") == 143
    assert last_line() == "stopped by SIGTERM in test, and nothing is written; start the same command again"
    assert handlers == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]


def test_what_a_finished_run_has_recorded_stays_until_its_successor_is_there(fit, tmp_path, capsys):
    assert fit(*CONSTANT) == 0
    run = only_run(tmp_path / "runs")
    first, recorded = read_result(run), (run / "result.json").read_bytes()
    capsys.readouterr()
    assert fit(*CONSTANT) == 0
    said = capsys.readouterr().out
    assert (run / "result.json").read_bytes() == recorded
    assert "finished before this start: nothing was trained" in said and "--trainer.max_epochs" in said
    assert f"accuracy {first['test']['accuracy']:.4f}" in said and "train.py test --config" in said

    for at, status in ((("on_train_batch_end", 1), "stopped"), (("on_test_batch_end", 1), "untested")):
        assert fit(*CONSTANT, "--trainer.max_epochs=3", number=signal.SIGTERM, at=at) == 143
        cut = read_result(run)
        assert (cut["status"], cut["test"]) == (status, first["test"])
        is_best = cut["best"] == first["best"]
        assert cut["tested"] == "best checkpoint" + ("" if is_best else f" of step {first['best']['step']}")
    assert fit(*CONSTANT, "--trainer.max_epochs=3") == 0
    longer = read_result(run)
    assert longer["status"] == "finished" and longer["tested"] == "best checkpoint"
    assert longer["final"]["step"] == 1.5 * first["final"]["step"]


@pytest.fixture
def slurm(monkeypatch, tmp_path):
    """A job of SLURM, and the file in which its scontrol writes what it was asked for."""
    job = {"JOB_ID": 7, "NTASKS": 1, "PROCID": 0, "LOCALID": 0, "NODEID": 0, "NODELIST": "localhost", "JOB_NAME": "t"}
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path / "asked"}\n')
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "asked"


def test_a_job_of_slurm_stops_as_elsewhere_and_resumes_what_it_requeued_and_nothing_else(
    fit, slurm, tmp_path, capsys, monkeypatch
):
    def fit_until(number, *arguments):
        """The same settings as without the signal, as those of a job that is requeued."""
        with monkeypatch.context() as patch:
            calls, step = [], Classification.training_step

            def stopped(model, batch, batch_idx):
                calls.append(batch_idx)
                if len(calls) == 3:
                    signal.raise_signal(number)
                return step(model, batch, batch_idx)

            patch.setattr(Classification, "training_step", stopped)
            return fit("--ckpt_path=null", *arguments)

    assert fit("--ckpt_path=null", "--run_root=untouched") == 0
    assert fit_until(signal.SIGTERM, "--run_root=terminated") == 143
    assert (only_run(tmp_path / "terminated") / "checkpoints/last.ckpt").is_file() and not slurm.exists()
    assert fit_until(signal.SIGUSR1) == 128 + signal.SIGUSR1
    assert slurm.read_text() == "requeue 7\n"
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "stopped by SIGUSR1 in training; resume with --ckpt_path last", "job 7 is requeued"
    ]  # fmt: skip
    run = only_run(tmp_path / "runs")
    assert fit("--ckpt_path=null") == 0
    assert "job 7 was requeued, and resumes the run" in capsys.readouterr().out
    assert differences(only_run(tmp_path / "untouched"), run) == [] and not list(run.glob("requeued"))

    shutil.copy(run / "checkpoints/last.ckpt", run / "hpc_ckpt_1.ckpt")  # as Lightning's own plugin leaves it
    recorded = (run / "metrics.jsonl").read_bytes()
    assert fit_until(signal.SIGUSR1, *CONSTANT) == 128 + signal.SIGUSR1
    assert fit("--ckpt_path=null") == 0  # of the same job, but another run
    assert "was requeued" not in capsys.readouterr().out
    earlier = sorted(run.parent.glob("seed1.*"), key=lambda path: len(read_events(path)))
    assert [read_result(path)["status"] for path in earlier] == ["stopped", "finished"]
    assert (earlier[1] / "metrics.jsonl").read_bytes() == recorded
    assert differences(only_run(tmp_path / "untouched"), run) == []
