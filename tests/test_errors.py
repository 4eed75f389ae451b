"""What a person gets wrong: one or two lines on stderr, exit status 2, no traceback, nothing half-written."""

import gzip

import pytest

from tests.conftest import ROOT

QUICK = "configs/quickstart.yaml"
MNIST = "configs/classification/mnist.yaml"

# arguments after `fit --config quickstart.yaml --data.source TINY` -> words that the answer must contain
FLAGS = {
    "unknown norm": (["--norm", "adanrm"], ["adanrm", "did you mean 'adanorm'", "layernorm_simple"]),
    "unknown option": (["--norm.options.scael", "2"], ["scael", "did you mean 'scale'", "k, scale"]),
    "option of another type": (["--norm.options.k", "big"], ["k takes", "float", "big"]),
    "option of a norm without options": (["--norm", "layernorm", "--norm.options.k", "1"], ["layernorm", "no option"]),
    "unknown key of norm": (["--norm.scale", "2"], ["scale", "name, options, sites"]),
    "sites word": (["--norm.sites", "first"], ["first", "all, final"]),
    "sites that match nothing": (["--norm.sites", "[decoder]"], ["decoder", "embeddings.LayerNorm"]),
    "final norm of a post-norm model": (["--norm.sites", "final"], ["final"]),
    "broken pattern": (["--norm.sites", "['(']"], ["regular expression"]),
    "unknown flag": (["--modell", "x"], ["modell", "did you mean model"]),
    "unknown key of the model": (["--model.poolign", "mean"], ["model.poolign", "did you mean model.pooling"]),
    "unknown key of the data": (["--data.batch_sise", "3"], ["data.batch_sise", "did you mean data.batch_size"]),
    "unknown key of the trainer": (["--trainer.max_epoch", "3"], ["did you mean trainer.max_epochs"]),
    "value outside the choices": (["--model.pooling", "max"], ["max", "'mean', 'first'"]),
    "value of another type": (["--trainer.max_epochs", "x"], ["trainer.max_epochs", "'x'", "whole number"]),
    "unknown task": (["--model", "app.tasks.Clasification"], ["Classification"]),
    "option that the backbone lacks": (
        ["--model.backbone.options", "{hiden_size: 8}"],
        ["hiden_size", "did you mean 'hidden_size'"],
    ),
    "unknown backbone": (["--model.backbone.model_type", "brt"], ["brt", "did you mean 'bert'"]),
    "width that heads do not divide": (
        ["--model.backbone.options", "{hidden_size: 130, num_attention_heads: 4}"],
        ["130"],
    ),
    "learning rate below 0": (["--model.optimizer.lr", "-1"], ["optimizer.lr", "above 0"]),
    "negative batch": (["--data.batch_tokens", "-4"], ["batch_tokens", "1 and more"]),
    "two ways to cut batches": (["--data.batch_size", "4"], ["batch_tokens", "batch_size", "one of them"]),
    "budget below the longest sentence": (["--data.batch_tokens", "5"], ["batch_tokens", "longest"]),
    "missing config": (["--config", "nowhere.yaml"], ["nowhere.yaml", "cannot be read"]),
    "flag without a value": (["--norm"], ["--norm", "value"]),
    "no checkpoint to go on from": (["--ckpt_path", "last"], ["last.ckpt", "no file"]),
    "device that is not there": (["--trainer.accelerator", "hpu9"], ["trainer", "hpu9"]),
    "negative seed": (["--seed_everything=-1"], ["seed_everything", "-1", "from 0"]),
    "no patience": (["--patience", "0"], ["patience is 0", "from 1"]),
    "negative interval": (["--checkpoint_every_steps=-1"], ["checkpoint_every_steps is -1"]),
    "no validation": (["--trainer.limit_val_batches", "0"], ["limit_val_batches", "best checkpoint"]),
    "validation after the epoch's end": (["--trainer.val_check_interval", "5000"], ["5000", "an epoch has"]),
    "validation within an update": (
        ["--data.batch_tokens", "64", "--trainer.val_check_interval", "3", "--trainer.accumulate_grad_batches", "2"],
        ["every 3 batches", "multiple"],
    ),
    "name that is a path": (["--data.name", "../x"], ["data.name", "../x"]),
    "run root that is a file": (["--run_root", ROOT / "train.py"], ["cannot be written", "--run_root"]),
    "fraction": (["--data.val_fraction", "1.5"], ["val_fraction", "below 1"]),
}


def one_answer(capsys) -> str:
    """The answer on stderr: one or two lines, no traceback."""
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.strip()]
    assert 1 <= len(lines) <= 2, error
    assert lines[0].startswith("error: ") and "Traceback" not in error
    return error


@pytest.mark.parametrize("case", FLAGS, ids=str)
def test_a_wrong_flag_is_answered(case, train, capsys, tmp_path, tiny_texts):
    arguments, words = FLAGS[case]
    assert train("fit", QUICK, "--data.source", tiny_texts, *arguments) == 2
    answer = one_answer(capsys)
    for word in words:
        assert word in answer
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", [[], ["fitt"], ["fit"], ["test", "--config", "nowhere.yaml"]])
def test_an_incomplete_command_is_answered(command, capsys, tmp_path, monkeypatch):
    from app.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    one_answer(capsys)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trainer: {max_epochs: 3\n", ["is no YAML", "line"]),
        ("- a\n", ["holds no settings"]),
        ("trainer: {bogus: 1}\n", ["trainer.bogus"]),
        ("modle: {a: 1}\n", ["modle"]),
        ("model: {init_args: {optimizer: {lrr: 3}}}\n", ["model.optimizer.lrr", "did you mean model.optimizer.lr"]),
        ("norm: [adanorm]\n", ["norm is ['adanorm']", "name"]),
        ("norm: {nme: adanorm}\n", ["nme", "name, options, sites"]),
    ],
)
def test_a_wrong_yaml_is_answered(text, words, train, capsys, tmp_path, tiny_texts):
    (tmp_path / "layer.yaml").write_text(text)
    assert train("fit", QUICK, "--data.source", tiny_texts, "--config", tmp_path / "layer.yaml") == 2
    answer = one_answer(capsys)
    for word in words:
        assert word in answer


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, ["no text classification data"]),
        ({"train.csv": "category,text\nx,good\n,bad\n"}, ["train.csv:3"]),
        ({"train.csv": "category,text\nx,good\ny,bad,extra\n"}, ["train.csv:3"]),
        ({"train.csv": "label,text\nx,good\n"}, ["category", "'label', 'text'"]),
        ({"train.csv": "category,text\n"}, ["train.csv", "no examples"]),
        (
            {"train.csv": "category,text\n" + "".join(f"x,text {i}\n" for i in range(40))},
            ["classes are x", "two or more"],
        ),
        ({"train.csv": "category,text\nx,one\ny,two\n"}, ["part is empty", "more data"]),
        (
            {"a.train": "0 bad\n1 good\n0 poor\n1 fine\n", "a.dev": "0 bad\n2 what\n", "a.test": "1 well\n"},
            ["a.dev:2", "'2'", "outside the set", "0, 1"],
        ),
        ({"a.train": "0 bad\n\n1 good\n"}, ["a.train:2"]),
        ({"train.jsonl": '{"text": "good", "category": "x"}\n{"text": \n'}, ["train.jsonl:2"]),
        ({"a.pos": "good\n"}, ["partner"]),
    ],
)
def test_broken_text_data_is_answered_with_its_place(files, words, train, capsys, tmp_path):
    folder = tmp_path / "data_here"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_text(content)
    assert train("fit", QUICK, "--data.source", folder) == 2
    answer = one_answer(capsys)
    for word in words:
        assert word in answer
    assert not (tmp_path / "runs").exists()


def test_missing_data_is_answered(train, capsys, tmp_path):
    assert train("fit", QUICK, "--data.source", tmp_path / "nowhere") == 2
    assert "nowhere" in one_answer(capsys)


def test_cut_images_are_answered(train, capsys, tmp_path, tiny_images):
    folder = tmp_path / "images"
    folder.mkdir()
    for path in tiny_images.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    whole = gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes())
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(whole[:-10]))
    assert train("fit", MNIST, "--data.source", folder) == 2
    assert "train-images" in one_answer(capsys)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\0" * 1000], ids=["empty", "foreign", "zeros"])
def test_a_broken_checkpoint_is_answered(content, train, capsys, tmp_path, tiny_texts):
    (tmp_path / "broken.ckpt").write_bytes(content)
    for command in ("fit", "test"):
        arguments = ["--data.source", tiny_texts, "--ckpt_path", tmp_path / "broken.ckpt"]
        assert train(command, QUICK, *arguments) == 2
        assert "broken.ckpt is no whole checkpoint" in one_answer(capsys)


def test_predict_without_a_source_or_a_run_is_answered(train, capsys, tiny_texts):
    assert train("predict", QUICK, "--data.source", tiny_texts) == 2
    error = capsys.readouterr().err.splitlines()[-1]  # before it stands, on stderr, what was read
    assert "best.ckpt" in error and "no file" in error


def test_a_defect_of_ours_keeps_its_traceback(train, monkeypatch, tiny_texts):
    def broken(*_):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("app.tasks.classification.Classification.build_head", broken)
    with pytest.raises(Exception, match="ours"):
        train("fit", QUICK, "--data.source", tiny_texts)
    assert (ROOT / QUICK).exists()
