"""Broken checkpoints, and defects of the program. Mistakes on the command line: tests/bad_input."""

import pytest

from tests.conftest import ROOT

QUICK = "configs/quickstart.yaml"


def one_answer(capsys) -> str:
    """The answer on stderr: one or two lines, no traceback."""
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.strip()]
    assert 1 <= len(lines) <= 2, error
    assert lines[0].startswith("error: ") and "Traceback" not in error
    return error


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\0" * 1000], ids=["empty", "foreign", "zeros"])
def test_a_broken_checkpoint_is_answered(content, train, capsys, tmp_path, tiny_texts):
    (tmp_path / "broken.ckpt").write_bytes(content)
    for command in ("fit", "test"):
        arguments = ["--data.source", tiny_texts, "--ckpt_path", tmp_path / "broken.ckpt"]
        assert train(command, QUICK, *arguments) == 2
        assert "broken.ckpt is not a valid checkpoint" in one_answer(capsys)


def test_a_defect_of_ours_keeps_its_traceback(train, monkeypatch, tiny_texts):
    def broken(*_):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("app.tasks.classification.Classification.build_head", broken)
    with pytest.raises(Exception, match="ours"):
        train("fit", QUICK, "--data.source", tiny_texts)
    assert (ROOT / QUICK).exists()
