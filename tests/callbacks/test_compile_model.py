"""--compile: the same training to rounding, uncompiled evaluation, and a line where there is no compiler."""

import shutil

import pytest
import torch

from app.runs.metrics_file import read_events
from tests.conftest import only_run
from tests.exactness.cases import CASES

CASE = CASES["classification"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # torch warns of itself while it compiles
def test_a_compiled_run_draws_the_same_dropout_and_learns_the_same(train, tiny_texts, tmp_path):
    flags = [
        *CASE.arguments(tiny_texts),
        "--trainer.max_epochs=2",
        "--model.optimizer.schedule=constant",  # so that a run may be made longer
        "--norm_diagnostics_every_n_steps=3",
        "--norm=adanorm",
        "--model.backbone.options.num_hidden_layers=1",
    ]
    assert train("fit", CASE.config, *flags, "--run_root=eager") == 0
    torch._dynamo.utils.counters.clear()
    # stopped after an update in which norms are not watched: what goes on is compiled first without their hooks
    stopped = [*flags, "--run_root=compiled", "--compile=true", "--checkpoint_every_steps=1"]
    assert train("fit", CASE.config, *stopped, "--trainer.max_epochs=1") == 0
    torch._dynamo.reset()
    assert train("fit", CASE.config, *stopped, "--ckpt_path=last") == 0
    eager, compiled = (read_events(only_run(tmp_path / root)) for root in ("eager", "compiled"))
    assert [event["step"] for event in eager] == [event["step"] for event in compiled]
    for one, other in zip(eager, compiled, strict=True):
        assert one.keys() == other.keys()
        watched = {key: value for key, value in one.items() if key.startswith(("train/", "val/", "norm_grad/re"))}
        assert watched == pytest.approx({key: other[key] for key in watched}, rel=1e-3, abs=1e-5)
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0  # something was compiled


def test_without_a_compiler_a_line_says_so(train, tiny_texts, monkeypatch, capsys):
    monkeypatch.setattr("app.cli.checks.shutil.which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert train("fit", CASE.config, *CASE.arguments(tiny_texts), "--compile=true") == 2
    assert "compile is true, and its C++ compiler, g++, is not found; install it" in capsys.readouterr().err
