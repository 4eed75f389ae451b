"""--debug: every command line shows the traceback of an answer, and no run remembers that it was asked."""

import pytest
import yaml

from app.benchmark.__main__ import main as benchmark
from app.cli.main import main as train_main
from app.study.__main__ import main as study

WRONG = {
    "train.py": (train_main, ["fit", "--config", "nowhere.yaml"]),
    "study": (study, ["status", "nowhere.yaml"]),
    "benchmark": (benchmark, ["norms", "--shapes", "x"]),
}


@pytest.mark.parametrize("command", WRONG)
@pytest.mark.parametrize("place", [0, -1], ids=["before", "after"])
def test_the_traceback_precedes_the_answer(command, place, capsys):
    main, arguments = WRONG[command]
    assert main(arguments) == 2
    answer = capsys.readouterr().err
    assert answer.count("\n") == 1 and answer.startswith("error: ")
    arguments = ["--debug", *arguments] if place == 0 else [*arguments, "--debug"]
    assert main(arguments) == 2
    debugged = capsys.readouterr().err
    assert debugged.startswith("Traceback") and "InputError" in debugged
    assert debugged.endswith(answer)


def test_a_run_does_not_remember_it(train, tmp_path, tiny_bytes):
    small = ["--data.source", tiny_bytes, "--data.segment", 16, "--trainer.max_steps", 1, "--test_after_fit", "false"]
    assert train("fit", "configs/language_modeling/tiny.yaml", "--debug", *small) == 0
    (path,) = (tmp_path / "runs").rglob("config.yaml")
    assert "debug" not in yaml.safe_load(path.read_text())
