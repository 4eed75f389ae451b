"""Any number of processes, and any accumulation, makes the same updates and counts the same scores.

Each case is train.py in processes of its own (gloo), in float64, and without dropout: its masks differ between them.
"""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch

from tests.conftest import ROOT, only_run, read_result
from tests.exactness.compare import differences

NO_DROPOUT = [
    "--model.classifier_dropout=0", "--model.backbone.options.hidden_dropout_prob=0",
    "--model.backbone.options.attention_probs_dropout_prob=0",
]  # fmt: skip
SMALL = [
    "--trainer.max_epochs=2", "--trainer.log_every_n_steps=1", "--data.val_fraction=0.2",
    "--model.backbone.options.hidden_size=32", "--model.backbone.options.intermediate_size=64",
    "--model.backbone.options.num_hidden_layers=2", "--trainer.precision=64-true", *NO_DROPOUT,
]  # fmt: skip


def launch(root, source, *arguments, torchrun=0, succeeds=True):
    """Run train.py fit as a person would and give back its run folder."""
    python = [sys.executable]
    if torchrun:
        python += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(torchrun)]
    command = [*python, str(ROOT / "train.py"), "fit", "--config", str(ROOT / "configs/quickstart.yaml"), *SMALL]
    command += [f"--data.source={source}", f"--data.cache_dir={root / 'cache'}", f"--run_root={root}", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert (done.returncode == 0) == succeeds, done.stderr[-3000:]
    return only_run(root) if succeeds else None


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_texts):
    """The same run on 1, 2 and 3 processes, launched by Lightning and by torchrun, and with halves accumulated."""
    folder = tmp_path_factory.mktemp("processes")
    several = ["--trainer.strategy=ddp", "--trainer.accelerator=cpu"]
    return {
        "1": launch(folder / "1", tiny_texts, "--data.batch_tokens=200"),
        "2": launch(folder / "2", tiny_texts, "--data.batch_tokens=200", "--trainer.devices=2", *several),
        "3": launch(folder / "3", tiny_texts, "--data.batch_tokens=200", *several, torchrun=3),
    }


PAIR = [
    "--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.accelerator=cpu", "--data.batch_tokens=200",
    "--checkpoint_every_steps=1", "--model.classifier_dropout=0.3",
]  # fmt: skip


@pytest.fixture(scope="module")
def untouched_pair(tmp_path_factory, tiny_texts):
    """A run on two processes, with dropout, that nobody killed."""
    return launch(tmp_path_factory.mktemp("pair"), tiny_texts, *PAIR)


def state(run):
    return torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.parametrize("processes", ["2", "3"])
def test_processes_make_the_update_of_the_whole_batch(runs, processes):
    one, several = state(runs["1"]), state(runs[processes])
    assert one.keys() == several.keys()
    for name, weight in one.items():
        torch.testing.assert_close(several[name], weight, rtol=0, atol=1e-12, msg=name)


@pytest.mark.parametrize("processes", ["2", "3"])
def test_processes_count_the_same_scores(runs, processes):
    one, several = read_result(runs["1"]), read_result(runs[processes])
    assert several["cost"]["processes"] == int(processes)
    assert several["cost"]["tokens"] == one["cost"]["tokens"]
    for key in ("data_fingerprint", "plan_fingerprint", "weights_fingerprint", "signature"):
        assert one[key] == several[key]
    assert one["test"]["accuracy"] == several["test"]["accuracy"]
    for part in ("val", "train_probe"):
        assert one["final"][part]["accuracy"] == several["final"][part]["accuracy"]
        assert several["final"][part]["loss"] == pytest.approx(one["final"][part]["loss"], rel=1e-12)


@pytest.mark.parametrize("processes", ["2", "3"])
def test_processes_report_the_same_training_loss(runs, processes):
    lines = [
        [json.loads(line) for line in (runs[key] / "metrics.jsonl").read_text().splitlines()]
        for key in ("1", processes)
    ]
    assert [event["step"] for event in lines[0]] == [event["step"] for event in lines[1]]
    for one, several in zip(*lines, strict=True):
        assert several["train/loss"] == pytest.approx(one["train/loss"], rel=1e-12)


def test_another_number_of_processes_goes_on_only_when_allowed(runs, tiny_texts, tmp_path, capsys, monkeypatch):
    from app.cli import main

    monkeypatch.chdir(tmp_path)
    (root,) = [parent for parent in runs["2"].parents if parent.name == "2"]
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    arguments = ["fit", "--config", str(runs["2"] / "config.yaml"), "--trainer.devices=1", "--trainer.max_epochs=3"]
    arguments += ["--trainer.strategy=auto", f"--run_root={tmp_path}", "--ckpt_path=last"]
    assert main(arguments) == 2
    assert "processes 2, this run has 1" in capsys.readouterr().err
    assert main([*arguments, "--allow_other_processes", "true"]) == 0
    assert read_result(only_run(tmp_path))["final"]["epoch"] == 3


@pytest.mark.parametrize(("hook", "time"), [("on_train_batch_end", 4), ("on_validation_start", 2)])
def test_two_processes_that_were_killed_go_on_bit_for_bit(hook, time, tmp_path, tiny_texts, untouched_pair):
    arguments = PAIR
    killer = ["--trainer.callbacks+=tests.exactness.killer.KillAt", f"--trainer.callbacks.hook={hook}"]
    launch(tmp_path, tiny_texts, *arguments, *killer, f"--trainer.callbacks.time={time}", succeeds=False)
    run = launch(tmp_path, tiny_texts, *arguments, "--ckpt_path=last")
    assert differences(untouched_pair, run) == []
