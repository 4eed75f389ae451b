"""Signals end a command where it is, or are remembered; a second one does not spoil the cleaning up."""

import os
import signal
import subprocess
from contextlib import suppress
from types import SimpleNamespace

import pytest

from app.callbacks import StopAtSignals
from app.errors import stop_signals
from app.errors.stop_signals import StoppedError, StopSignals, set_requeue_signal, until_stopped

NUMBERS = (signal.SIGTERM, signal.SIGINT)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_ends_a_command_where_it_is_and_the_innermost_block_says_what_that_was(number, capsys):
    former = [signal.getsignal(each) for each in NUMBERS]

    def command():
        with StopSignals("in the test; test again"), suppress(Exception):
            signal.raise_signal(number)
        raise AssertionError("it went on")

    assert until_stopped(command, "before it began") == 128 + number
    assert capsys.readouterr().err == f"stopped by {signal.Signals(number).name} in the test; test again\n"
    assert former == [signal.getsignal(each) for each in NUMBERS]
    assert until_stopped(lambda: 3, "") == 3


def test_a_second_signal_leaves_time_to_clean_up_and_then_ends_the_process(monkeypatch):
    ended = []
    monkeypatch.setattr(stop_signals, "_end_at_once", ended.append)

    def command():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            assert not ended
            monkeypatch.setattr(stop_signals, "_CLEAN_UP_S", -1.0)
            signal.raise_signal(signal.SIGINT)
            assert ended == [signal.SIGINT]

    assert until_stopped(command, "") == 128 + signal.SIGTERM


def test_a_remembered_signal_waits_for_who_asks_and_is_never_lost(monkeypatch, capsys):
    ended = []
    monkeypatch.setattr(stop_signals, "_end_at_once", ended.append)

    def command():
        with StopSignals("in training", deferred=True) as signals:
            assert signals.received is None
            signal.raise_signal(signal.SIGINT)
            assert signals.received == signal.SIGINT and not ended
            signal.raise_signal(signal.SIGINT)
            assert ended == [signal.SIGINT]
        raise AssertionError("no one asked, so leaving the block ends the command")

    assert until_stopped(command, "after training") == 128 + signal.SIGINT
    assert capsys.readouterr().err == "stopped by SIGINT after training\n"


def test_a_loader_process_leaves_ctrl_c_to_the_main_one(monkeypatch):
    ended = []
    monkeypatch.setattr(stop_signals, "_end_at_once", ended.append)
    with StopSignals(""):
        monkeypatch.setattr(os, "getpid", lambda: -1)  # as in a process that was forked
        signal.raise_signal(signal.SIGINT)
        assert not ended
        signal.raise_signal(signal.SIGTERM)
        assert ended == [signal.SIGTERM]


@pytest.mark.parametrize(
    ("chosen", "sent", "variables", "job"),
    [
        (signal.SIGUSR1, signal.SIGUSR1, {}, "7"),
        (signal.SIGUSR1, signal.SIGUSR1, {"SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "2"}, "5_2"),
        (signal.SIGUSR1, signal.SIGUSR1, {"SLURM_PROCID": "1"}, None),  # the first process does it
        (signal.SIGUSR2, signal.SIGUSR2, {}, "7"),
        (None, signal.SIGUSR1, {}, None),
        (signal.SIGUSR1, signal.SIGTERM, {}, None),
        (signal.SIGUSR1, signal.SIGTERM, {"SLURM_JOB_NAME": "interactive"}, None),
    ],
)
def test_a_job_of_slurm_is_requeued_at_its_signal(chosen, sent, variables, job, monkeypatch, capsys):
    for name, value in {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "0", **variables}.items():
        monkeypatch.setenv(name, value)
    asked = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: asked.append(command))

    def command():
        set_requeue_signal(chosen)
        with StopSignals("in the test"):
            signal.raise_signal(sent)

    assert until_stopped(command, "") == 128 + sent
    assert asked == ([["scontrol", "requeue", job]] if job else [])
    assert ("is requeued" in capsys.readouterr().err) == bool(job)


def test_a_job_that_cannot_be_requeued_says_so(monkeypatch, capsys):
    for name in ("SLURM_JOB_ID", "SLURM_NTASKS"):
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("PATH", "")
    assert until_stopped(lambda: signal.raise_signal(signal.SIGUSR1), "") == 128 + signal.SIGUSR1
    assert "job 7 is not requeued: " in capsys.readouterr().err


@pytest.mark.parametrize("is_agreed", [True, False])
def test_processes_that_all_stop_are_not_sent_a_second_signal(is_agreed, monkeypatch):
    monkeypatch.setattr(stop_signals, "_stopping_since", None)
    sent = []
    trainer = SimpleNamespace(strategy=SimpleNamespace(launcher=SimpleNamespace(kill=sent.append)))
    error = StopSignals("", deferred=True).error() if is_agreed else StoppedError(signal.SIGINT, "")
    StopAtSignals().on_exception(trainer, None, error)
    assert sent == ([] if is_agreed else [signal.SIGTERM])
