"""Language modelling by train.py from one end to the other: scores that hang on nothing else, predict, wrong input."""

import bz2
import dataclasses
import json
import math

import pytest

from app.metrics.info import BITS_PER_BYTE
from tests.conftest import ROOT, mostly_slow, only_run, read_result
from tests.errors.test_input_error import one_answer
from tests.exactness.cases import CASES
from tests.example_scores import scores_of_examples

CONFIG = CASES["language_modeling"].config
FAMILIES = {
    "xlnet": [],
    "gpt2": [
        "--data.memory=false", "--data.eval_stride=8",
        "--model.backbone={model_type: gpt2, options: {n_embd: 16, n_layer: 1, n_head: 2, n_positions: 32}}",
    ],
}  # fmt: skip


@pytest.fixture(scope="module", params=mostly_slow(FAMILIES, "gpt2"))
def fitted(request, tmp_path_factory, tiny_bytes):
    """The folder of a finished run."""
    from app.cli.main import main

    root = tmp_path_factory.mktemp("fitted")
    settings = [*CASES["language_modeling"].arguments(tiny_bytes)]
    if request.param == "gpt2":
        settings = [argument for argument in settings if not argument.startswith("--model.backbone.")]
    settings += [f"--run_root={root}", f"--data.cache_dir={root / 'cache'}", *FAMILIES[request.param]]
    settings.append("--plots=true")
    assert main(["fit", "--config", str(ROOT / CONFIG), *settings]) == 0
    return only_run(root)


def test_bits_stand_beside_those_of_compressors(fitted, tiny_bytes):
    result = read_result(fitted)
    test, data = result["test"], tiny_bytes.read_bytes()
    last = data[len(data) - round(0.05 * len(data)) :]
    assert test["bpc"] == pytest.approx(test["loss"] / math.log(2))
    assert test["bpc_of_bzip2"] == pytest.approx(8 * len(bz2.compress(last)) / len(last))
    assert result["primary_metric"] == {"mode": "min", **dataclasses.asdict(BITS_PER_BYTE)}
    assert "bits per byte" in (fitted / "curves.svg").read_text()
    assert result["cost"]["unit"] == "bytes" and result["cost"]["bytes_per_s"] > 0 and "byte_perplexity" in test
    assert not {"tokens", "tokens_per_s"} & result["cost"].keys()
    assert scores_of_examples(fitted) == {name: pytest.approx(test[name], rel=1e-14) for name in ("loss", "bpc")}


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_score_does_not_depend_on_the_batch_size(fitted, batch_size, train, capsys):
    assert train("test", fitted / "config.yaml", "--data.eval_batch_size", batch_size) == 0
    printed = capsys.readouterr().out
    scores = json.loads(printed[printed.index("{\n") :])
    assert scores["test/bpc"] == pytest.approx(read_result(fitted)["test"]["bpc"], abs=1e-6)


def test_predict_continues_each_prompt_and_repeats_itself(fitted, train, tmp_path):
    (tmp_path / "in.txt").write_text("the red dog\n\nthe old\n", encoding="utf-8")
    outputs = []
    for name in ("first", "second"):
        arguments = ["--data.predict_source", tmp_path / "in.txt", "--output", tmp_path / name]
        assert train("predict", fitted / "config.yaml", *arguments, "--model.sampling.length=12") == 0
        outputs.append([json.loads(line) for line in (tmp_path / name).read_text().splitlines()])
    assert outputs[0] == outputs[1]
    assert [record["prompt"] for record in outputs[0]] == ["the red dog", "", "the old"]
    assert all(record["continuation"] for record in outputs[0])


WRONG = {
    "a model without memory for streams": (
        ["--model.backbone={model_type: gpt2, options: {}}"], ["no memory", "false"],
    ),
    "a model that looks ahead": (["--model.backbone.options.attn_type=bi"], ["looks at the bytes", "attn_type uni"]),
    "windows longer than the model": (FAMILIES["gpt2"] + ["--data.segment=64"], ["max_length is 64", "32"]),
    "a stride beyond the window": (
        ["--data.memory=false", "--data.eval_stride=65", "--data.window=64"], ["eval_stride is 65", "64"],
    ),
    "a window for streams": (["--data.window=64"], ["window", "memory false"]),
    "more streams than bytes": (["--data.streams=100000"], ["streams is 100000", "bytes"]),
    "no stream": (["--data.streams=0"], ["streams is 0"]),
    "a fraction": (["--data.val_fraction=1"], ["val_fraction"]),
    "a source that is no file": (["--data.source=nowhere.bin"], ["nowhere.bin"]),
    "another module": (["--data.source=module://os"], ["module://os", "pydoc_data.topics"]),
    "a hub set": (["--data.source=hub://some/set"], ["hub"]),
    "no temperature": (["--model.sampling.temperature=-1"], ["temperature is -1"]),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_what_is_wrong_is_answered(wrong, train, tmp_path, capsys, tiny_bytes):
    arguments, words = WRONG[wrong]
    assert train("fit", CONFIG, f"--data.source={tiny_bytes}", *arguments) == 2
    answer = one_answer(capsys)
    for word in words:
        assert word in answer
    assert not (tmp_path / "runs").exists()


def test_a_cut_archive_is_answered(train, tmp_path, capsys, tiny_bytes):
    (tmp_path / "cut.bz2").write_bytes(bz2.compress(tiny_bytes.read_bytes())[:-20])
    assert train("fit", CONFIG, f"--data.source={tmp_path / 'cut.bz2'}") == 2
    assert "cut.bz2" in one_answer(capsys)
