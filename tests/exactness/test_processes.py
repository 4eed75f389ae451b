"""Any number of processes, and any accumulation, makes the same updates and counts the same scores.

Each case is train.py in processes of its own (gloo), in float64, and without dropout: its masks differ between them.
"""

import json
import shutil

import numpy as np
import pytest
import torch

from app.runs.examples_file import read_test_examples
from app.runs.metrics_file import read_events
from tests.conftest import ROOT, only_run, read_result
from tests.exactness.cases import CASES
from tests.exactness.compare import differences
from tests.exactness.launch import by_fork, by_lightning, by_torchrun
from tests.example_scores import scores_of_examples

pytestmark = pytest.mark.slow
EXACT = ["--trainer.max_epochs=2", "--trainer.log_every_n_steps=1", "--trainer.precision=64-true"]
EXACT += ["--norm_diagnostics_every_n_steps=2"]
PLACED = {"classification": ["--placement=qk"], "translation": ["--placement=peri"]}  # the others are native


def launch(root, task, source, *arguments, processes=1, by=by_fork, succeeds=True):
    """Run train.py fit and give back its run folder."""
    case = CASES[task]
    settings = ["fit", "--config", str(ROOT / case.config), *case.arguments(source), *EXACT]
    settings += [f"--data.cache_dir={root / 'cache'}", f"--run_root={root}", *arguments]
    root.mkdir(parents=True, exist_ok=True)
    assert by(settings, processes, root / "log") == succeeds, (root / "log").read_text()[-3000:]
    return only_run(root) if succeeds else None


@pytest.fixture(scope="module", params=CASES)
def runs(request, tmp_path_factory, sources):
    """The same run on 1, 2 and 3 processes; some as a person would launch them."""
    folder = tmp_path_factory.mktemp("processes")
    task = request.param
    source = sources[CASES[task].data]
    ways = {("classification", 2): by_lightning, ("parsing_mlp", 2): by_torchrun}
    return {"task": task} | {
        str(number): launch(
            *(folder / str(number), task, source, *CASES[task].no_dropout, *PLACED.get(task, [])),
            processes=number,
            by=ways.get((task, number), by_fork),
        )
        for number in (1, 2, 3)
    }


@pytest.fixture(scope="module")
def untouched_pair(request, tmp_path_factory, sources):
    """A run on two processes, with dropout, that nobody killed: task, data, folder."""
    source = sources[CASES[request.param].data]
    folder = tmp_path_factory.mktemp("pair")
    return request.param, source, launch(folder, request.param, source, "--checkpoint_every_steps=1", processes=2)


def state(run):
    return torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.parametrize("processes", ["2", "3"])
def test_processes_make_the_update_of_the_whole_batch(runs, processes):
    one, several = state(runs["1"]), state(runs[processes])
    assert one.keys() == several.keys()
    for name, weight in one.items():
        if name.endswith(("k_proj.bias", "key.bias")):
            continue  # softmax ignores a shift of all keys: the gradient is rounding alone, which Adam scales up
        torch.testing.assert_close(several[name], weight, rtol=0, atol=1e-12, msg=name)


@pytest.mark.parametrize("processes", ["2", "3"])
def test_processes_count_the_same_scores(runs, processes):
    one, several = read_result(runs["1"]), read_result(runs[processes])
    score = CASES[runs["task"]].score
    assert several["cost"]["processes"] == int(processes)
    unit = one["cost"]["unit"]
    assert several["cost"][unit] == one["cost"][unit]
    for key in ("data_fingerprint", "plan_fingerprint", "weights_fingerprint", "signature", "score_signatures"):
        assert one[key] == several[key]
    assert several["test"][score] == pytest.approx(one["test"][score], rel=1e-12) and one["test"][score] > 0
    for part in ("val", "train_probe"):
        assert several["final"][part][score] == pytest.approx(one["final"][part][score], rel=1e-12)
        assert several["final"][part]["loss"] == pytest.approx(one["final"][part]["loss"], rel=1e-12)
    assert scores_of_examples(runs[processes]) == {
        name: pytest.approx(value, rel=1e-12) for name, value in scores_of_examples(runs["1"]).items()
    }
    examples = [read_test_examples(runs[key]) for key in ("1", processes)]
    assert examples[1].keys() == examples[0].keys() >= {"index", "nats", "units"}
    for column, values in examples[0].items():
        np.testing.assert_allclose(examples[1][column], values, rtol=1e-10 if column == "nats" else 0, err_msg=column)
    texts = [{path.name: path.read_text() for path in runs[key].glob("test_*.txt")} for key in ("1", processes)]
    assert texts[0] == texts[1] and len(texts[0]) == (3 if runs["task"] == "translation" else 0)


@pytest.mark.parametrize("processes", ["2", "3"])
def test_processes_report_the_same_training_loss(runs, processes):
    lines = [
        [json.loads(line) for line in (runs[key] / "metrics.jsonl").read_text().splitlines()]
        for key in ("1", processes)
    ]
    assert [event["step"] for event in lines[0]] == [event["step"] for event in lines[1]]
    for one, several in zip(*lines, strict=True):
        losses = [key for key in one if key.startswith("train/")]
        assert len(losses) == (2 if runs["task"] == "translation" else 1)
        for key in losses:
            assert several[key] == pytest.approx(one[key], rel=1e-12)


@pytest.mark.parametrize("processes", ["2", "3"])
def test_processes_measure_the_same_norms(runs, processes):
    """What is no mere rounding error, as the mean of a gradient is that was re-centred."""
    names = "tokens dy_var dx_var sigma rescaling gain_distance bias_distance update_share ky_std ky_q25".split()
    one, several = (
        {
            (event["step"], key): value
            for event in read_events(runs[number])
            for key, value in event.items()
            if key.startswith("norm_") and key.split("/")[1] in names
        }
        for number in ("1", processes)
    )
    assert one.keys() == several.keys() and len(one) > 50
    assert several == {key: pytest.approx(value, rel=1e-6, abs=1e-25) for key, value in one.items()}


def test_another_number_of_processes_goes_on_only_when_allowed(runs, tmp_path, capsys, monkeypatch):
    from app.cli.main import main

    monkeypatch.chdir(tmp_path)
    (root,) = [parent for parent in runs["2"].parents if parent.name == "2"]
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    (only_run(tmp_path) / "result.json").unlink()  # as if it had been stopped before its test
    arguments = ["fit", "--config", str(runs["2"] / "config.yaml"), "--trainer.devices=1", "--trainer.strategy=auto"]
    arguments += [f"--run_root={tmp_path}", "--ckpt_path=last"]
    assert main(arguments) == 2
    answer = capsys.readouterr().err
    assert "processes was 2 and is 1; " in answer and "pass --allow_world_size_change true" in answer
    assert main([*arguments, "--allow_world_size_change", "true"]) == 0
    assert read_result(only_run(tmp_path))["cost"]["processes"] == 1


KILLS = [*((task, "on_train_batch_end", 4) for task in CASES), ("classification", "on_validation_start", 2)]


@pytest.mark.parametrize(("untouched_pair", "hook", "time"), KILLS, indirect=["untouched_pair"])
def test_two_processes_that_were_killed_go_on_bit_for_bit(hook, time, tmp_path, untouched_pair):
    task, source, untouched = untouched_pair
    killer = [f"--trainer.callbacks.hook={hook}", f"--trainer.callbacks.time={time}", "--checkpoint_every_steps=1"]
    killer = ["--trainer.callbacks+=tests.exactness.killer.KillAt", *killer]
    launch(tmp_path, task, source, *killer, processes=2, succeeds=False)
    run = launch(tmp_path, task, source, "--checkpoint_every_steps=1", "--ckpt_path=last", processes=2)
    assert differences(untouched, run) == []
