"""Runs with placed norms: trained, stopped, resumed, scored, exported and loaded."""

import json

import pytest
import torch

from app.backbones import load_model
from app.export.__main__ import main as export
from app.export.run import read_run
from tests.conftest import only_run, read_result
from tests.errors.test_input_error import one_answer
from tests.exactness.cases import CASES
from tests.exactness.compare import differences
from tests.exactness.killer import Killed

PERI, OUTPUT = "--placement=peri", "--placement={name: output, options: {queries_and_keys: width}}"


@pytest.mark.parametrize(("task", "placement"), [("classification", PERI), ("translation", OUTPUT)])
def test_it_resumes_bit_for_bit_and_comes_back_from_its_folder(task, placement, sources, train, tmp_path, capsys):
    case = CASES[task]
    arguments = [*case.arguments(sources[case.data]), "--trainer.max_epochs=2", "--norm_diagnostics_every_n_steps=3"]
    assert train("fit", case.config, *arguments, placement, "--run_root=whole") == 0
    whole = only_run(tmp_path / "whole")
    killer = ["--trainer.callbacks+=tests.exactness.killer.KillAt", "--trainer.callbacks.hook=on_train_epoch_start"]
    with pytest.raises(Killed):
        train("fit", case.config, *arguments, placement, *killer, "--trainer.callbacks.time=2")
    (half,) = tmp_path.glob("runs/**/config.yaml")
    capsys.readouterr()
    assert (
        train(
            "fit",
            half,
            "--trainer.callbacks=null",
            f"--ckpt_path={half.parent}/checkpoints/last.ckpt",
            "--placement=native",
        )
        == 2
    )
    assert "pass the settings and the --run_root of its own run" in one_answer(capsys)
    assert train("fit", half, "--trainer.callbacks=null", "--ckpt_path=last") == 0  # as it wrote its settings
    assert differences(whole, only_run(tmp_path / "runs")) == []

    result, name = read_result(whole), whole.parent.name
    label = f"{result['placement']['name']}(queries_and_keys={result['placement']['options']['queries_and_keys']})"
    assert name.endswith(f"~{label}") and f"|placement:{label}|seed:" in result["signature"]
    assert json.loads((whole / "run.json").read_text())["placement"] == result["placement"]
    assert train("test", whole / "config.yaml", "--placement=native") == 2
    assert one_answer(capsys).startswith(f"error: the checkpoint is of placement {label}, this run has native;")
    assert train("test", whole / "config.yaml") == 0
    capsys.readouterr()

    assert export([str(whole), "--to", str(tmp_path / "exported")]) == 0
    assert f"stock transformers cannot express placement {label}" in capsys.readouterr().out
    loaded, run = load_model(tmp_path / "exported"), read_run(whole, None, None)
    ids = torch.arange(12).reshape(2, 6)
    with torch.no_grad():
        assert torch.equal(loaded(ids)[0], run.task.model(ids)[0])
    assert "placement" in (tmp_path / "exported/README.md").read_text(encoding="utf-8")


def test_a_run_of_an_earlier_version_is_native(tiny_texts, train, tmp_path):
    case = CASES["classification"]
    arguments = [*case.arguments(tiny_texts), "--trainer.max_epochs=1", "--model.optimizer.schedule=constant"]
    assert train("fit", case.config, *arguments) == 0
    run = only_run(tmp_path)
    assert "~" not in run.parent.name and "placement" not in read_result(run)["signature"]
    for path in (run / "checkpoints").iterdir():
        checkpoint = torch.load(path, weights_only=True)
        for record in (checkpoint["task"], checkpoint["run_record"]["agrees"]):
            record.pop("placement", None)  # both may be one file
        torch.save(checkpoint, path)
    assert train("fit", case.config, *arguments, "--trainer.max_epochs=2", "--ckpt_path=last") == 0
