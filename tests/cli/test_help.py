"""What train.py says of itself."""

import re
import subprocess
import sys

import pytest

from app.cli.main import COMMANDS, main
from app.cli.overview import OVERVIEW
from tests.conftest import ROOT


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_the_overview_names_every_command_and_imports_nothing_large(flag):
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "train.py", flag], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stdout == OVERVIEW
    assert re.findall(r"^  (\w+)   ", ended.stdout, re.M) == list(COMMANDS)
    assert "app.cli.overview" in ended.stderr and "torch" not in ended.stderr


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--help"], "--norm_diagnostics_every_n_steps"),
        (re.findall(r"(--model.help) .* as ([\w.]+)", OVERVIEW)[0], "--model.classifier_dropout"),
        (re.findall(r"(--data.help) .* as ([\w.]+)", OVERVIEW)[0], "--data.label_column"),
    ],
)
def test_a_command_s_help_names_settings(command, arguments, words, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, *arguments])
    assert ended.value.code == 0
    assert words in capsys.readouterr().out
