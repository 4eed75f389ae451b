"""Long phases say that they go on: in lines, or on a terminal in a bar; short ones say nothing."""

import logging
import time
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.live import Live

import app.progress
from app.callbacks import ProgressLines
from app.callbacks.progress import PredictProgress
from app.cli.output import configure_logging
from app.progress import phase


@phase("reading the data")
def wait(seconds):
    time.sleep(seconds)
    return seconds


def test_a_long_phase_says_so_and_a_short_one_says_nothing(monkeypatch, caplog, capsys):
    caplog.set_level(logging.INFO, logger="app.progress")
    assert wait(0) == 0 and not caplog.messages
    monkeypatch.setattr(app.progress, "EVERY_S", 0.02)
    assert wait(0.3) == 0.3
    assert set(caplog.messages) == {"reading the data: 0:00 so far"}
    assert "reading" not in capsys.readouterr().err


def test_on_a_terminal_it_is_a_line_that_is_drawn_again_and_removed(monkeypatch, caplog, capsys):
    caplog.set_level(logging.INFO, logger="app.progress")
    monkeypatch.setattr(app.progress, "bar_wanted", lambda: True)
    monkeypatch.setattr(app.progress, "_BAR_EVERY_S", 0.02)
    wait(0.3)
    drawn = capsys.readouterr().err
    assert "\rreading the data: 0:00 so far" in drawn and drawn.endswith("\r") and "\n" not in drawn
    assert not caplog.messages


def test_lines_of_the_log_are_above_the_bar_that_lightning_draws(capsys):
    configure_logging("fit")
    with Live("the bar", console=Console(force_terminal=True, width=80), auto_refresh=False):
        logging.getLogger("app").info("a line")
    assert "the bara line" not in (drawn := capsys.readouterr().out) and "a line\n" in drawn


@pytest.mark.parametrize(("every_s", "lines"), [(30.0, []), (0.0, ["validating  batch 4/5  [0:00 left]"])])
def test_a_validation_alone_is_announced_and_counts_the_batches_of_both_its_splits(every_s, lines, capsys):
    trainer = SimpleNamespace(
        state=SimpleNamespace(fn="validate"), ckpt_path="run/best.ckpt", num_val_batches=[3, 2],
        progress_bar_callback=None, sanity_checking=False,
    )  # fmt: skip
    callback = ProgressLines(every_s)
    callback.on_validation_start(trainer, None)
    callback.on_validation_batch_end(trainer, None, None, None, batch_idx=0, dataloader_idx=1)
    assert capsys.readouterr().out.splitlines() == ["validating best.ckpt, batches: 5", *lines]


@pytest.mark.parametrize("has_bar", [True, False])
def test_predict_draws_a_bar_or_logs_lines(has_bar, caplog, capsys):
    caplog.set_level(logging.INFO, logger="app.callbacks.progress")
    progress = PredictProgress(3, has_bar, every_s=0.0)
    progress.on_predict_batch_end(None, None, None, SimpleNamespace(index=[0, 1]), 0)
    progress.close()
    assert ("0/3" in capsys.readouterr().err) == has_bar
    assert [message.startswith("2 of 3 records") for message in caplog.messages] == [True] * (not has_bar)
