"""A model of several rules, with roles and its own optimizer groups: trained, stopped, resumed, exported, loaded."""

import csv

import pytest
import torch
import yaml

from app.backbones import load_model
from app.export.__main__ import main as export
from app.export.run import read_run
from tests.conftest import only_run, read_result
from tests.exactness.cases import CASES
from tests.exactness.compare import differences
from tests.exactness.killer import Killed

RULES = [
    {"name": "layernorm", "sites": "attention", "weight_decay": 0.1, "lr_multiplier": 3, "freeze": "bias"},
    {"name": "native", "sites": ["layer.1"], "freeze": ["gain", "bias"]},
    {"name": "dyt", "options": {"alpha": "auto"}, "by_role": {"embedding": {"alpha": 0.3}}},
]


@pytest.fixture(scope="module")
def settings(tiny_texts):
    case = CASES["classification"]
    more = [f"--norm={yaml.safe_dump(RULES, default_flow_style=True, width=1000)}", "--trainer.max_epochs=2"]
    return case.config, [*case.arguments(tiny_texts), *more, "--norm_diagnostics_every_n_steps=3"]


def test_it_trains_resumes_bit_for_bit_and_comes_back_from_its_folder(settings, train, tmp_path, capsys):
    config, arguments = settings
    assert train("fit", config, *arguments, "--run_root=whole") == 0
    whole = only_run(tmp_path / "whole")
    killer = ["--trainer.callbacks+=tests.exactness.killer.KillAt", "--trainer.callbacks.hook=on_train_epoch_start"]
    with pytest.raises(Killed):
        train("fit", config, *arguments, *killer, "--trainer.callbacks.time=2")
    (half,) = tmp_path.glob("runs/**/config.yaml")
    assert half.parent.name == whole.name and half.parent.parent.name == whole.parent.name
    assert train("fit", half, "--trainer.callbacks=null", "--ckpt_path=last") == 0  # as it wrote its settings
    assert differences(whole, only_run(tmp_path / "runs")) == []

    last = torch.load(whole / "checkpoints/last.ckpt", weights_only=True)
    base, plain, ruled = last["optimizer_states"][0]["param_groups"]
    assert (ruled["weight_decay"], len(ruled["params"]), plain["weight_decay"]) == (0.1, 2, 0.0)
    assert ruled["lr"] == pytest.approx(3 * base["lr"]) and plain["lr"] == base["lr"]
    with open(whole / "norm_sites.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["rule"], row["role"], row["new_norm"]) for row in rows] == [
        ("3", "embedding", "dyt(alpha_init=0.3)"), ("1", "attention", "layernorm"), ("3", "ffn", "dyt(alpha_init=1)"),
        ("1", "attention", "layernorm"), ("2", "ffn", "native"),
    ]  # fmt: skip
    for row in rows:
        gain, bias = (last["state_dict"][f"model.{row['path']}.{name}"] for name in ("weight", "bias"))
        assert (gain == 1).all() == (row["rule"] == "2") and bias.any() == (row["rule"] == "3")  # frozen at the start
    result = read_result(whole)
    assert result["norm"]["replaced"] == 4 and len(result["norm"]["rules"]) == 3

    assert export([str(whole), "--to", str(tmp_path / "exported")]) == 0
    loaded, task = load_model(tmp_path / "exported"), read_run(whole, None, None).task
    ids = torch.arange(12).reshape(2, 6)
    with torch.no_grad():
        assert torch.equal(loaded(ids).last_hidden_state, task.model(ids).last_hidden_state)
    card = (tmp_path / "exported/README.md").read_text(encoding="utf-8")
    assert "`layernorm(weight_decay=0.1,lr_multiplier=3,freeze=bias)` at attention, else `native(" in card
