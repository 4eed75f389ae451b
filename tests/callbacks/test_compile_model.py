"""--compile: the same training to rounding, uncompiled evaluation, and a line where there is no compiler."""

import shutil

import pytest
import torch

from app.callbacks.metrics_file import read_events
from tests.conftest import only_run
from tests.exactness.cases import CASES

CASE = CASES["classification"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # torch warns of itself while it compiles
def test_a_compiled_run_draws_the_same_dropout_and_learns_the_same(train, tiny_texts, tmp_path):
    flags = [*CASE.arguments(tiny_texts), "--trainer.max_epochs=2", "--watch_norms_every_steps=3", "--norm=adanorm"]
    assert train("fit", CASE.config, *flags, "--run_root=eager") == 0
    assert train("fit", CASE.config, *flags, "--run_root=compiled", "--compile=true") == 0
    eager, compiled = (read_events(only_run(tmp_path / root)) for root in ("eager", "compiled"))
    assert [event["step"] for event in eager] == [event["step"] for event in compiled]
    for one, other in zip(eager, compiled, strict=True):
        assert one.keys() == other.keys()
        losses = {key: value for key, value in one.items() if key in ("train/loss", "val/loss")}
        assert losses == pytest.approx({key: other[key] for key in losses}, rel=1e-5)
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0  # something was compiled


def test_without_a_compiler_a_line_says_so(train, tiny_texts, monkeypatch, capsys):
    monkeypatch.setattr("app.cli_checks.shutil.which", lambda name: None)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert train("fit", CASE.config, *CASE.arguments(tiny_texts), "--compile=true") == 2
    assert "compile is true, and torch.compile finds no C++ compiler; install g++" in capsys.readouterr().err
