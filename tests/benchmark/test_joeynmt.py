"""What JoeyNMT is given to train on, and how its log is read; the program itself is not there."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from app.benchmark import joeynmt
from app.benchmark.__main__ import main
from tests.conftest import ROOT
from tests.exactness.cases import CASES
from tests.processes import run_here

STAND_IN = """#!{python}
import pathlib, shutil, sys
if sys.argv[1] == "-c":
    sys.exit(0)
folder = pathlib.Path(sys.argv[4]).parent
shutil.copytree(folder, "{kept}", dirs_exist_ok=True)
for rate in (1, 50, 150)[: 1 + {updates} // 10]:
    print(f"Epoch   1, Step:       10, Tokens per Sec: {{rate:8.0f}}, Lr: 0.002")
"""


@pytest.fixture
def interpreter(tmp_path):
    path = tmp_path / "python"
    path.write_text(STAND_IN.format(python=sys.executable, kept=tmp_path / "kept", updates=20))
    path.chmod(0o755)
    return path


@pytest.mark.slow
def test_both_train_on_the_same_tokens_with_the_same_sizes(interpreter, tiny_pairs, tmp_path, monkeypatch, capsys):
    case = CASES["translation"]
    monkeypatch.setattr(joeynmt, "CONFIG", str(ROOT / case.config))
    monkeypatch.setattr("app.benchmark.fit.subprocess", SimpleNamespace(run=run_here))
    flags = [*case.arguments(tiny_pairs), f"--data.cache_dir={tmp_path}/cache"]
    assert main(["joeynmt", "--python", os.path.relpath(interpreter), "--updates", "20", "--repeats", "1", *flags]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert "| 75 (75 to 75) |" in line  # harmonic mean of 50 and 150: as many tokens at each
    kept = tmp_path / "kept"
    settings = yaml.safe_load((kept / "config.yaml").read_text())
    assert settings["training"]["batch_size"] == 200 and settings["training"]["updates"] == 30
    stack = settings["model"]["encoder"]
    assert (stack["num_layers"], stack["hidden_size"], stack["ff_size"], stack["layer_norm"]) == (1, 32, 64, "pre")
    words = (kept / "vocabulary.txt").read_text().split()
    sides = [(kept / f"train.{suffix}").read_text().splitlines() for suffix in ("src", "trg")]
    assert len(sides[0]) == len(sides[1]) > 50
    assert {word for side in sides for line in side for word in line.split()} <= set(words)


def test_an_interpreter_without_joeynmt_is_told_what_to_install(capsys, tmp_path):
    for python, words in (
        (sys.executable, "has no JoeyNMT; in an environment of its own: pip install joeynmt==2.3.0"),
        (str(Path(tmp_path) / "none"), "No such file or directory; pass the interpreter of an environment"),
    ):
        assert main(["joeynmt", "--python", python]) == 2
        assert words in capsys.readouterr().err
