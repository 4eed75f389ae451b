"""Runs as Hugging Face folders: the card's own lines give what predict gives; wrong input leaves nothing behind."""

import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml
from safetensors.torch import load_file
from torch import nn

from app.backbones import load_model
from app.batches import TextBatch
from app.cli.main import main as train_py
from app.export.__main__ import main
from app.metrics.info import ACCURACY, LOSS
from app.tasks import Task
from tests.conftest import ROOT, mostly_slow, only_run, read_result
from tests.errors.test_input_error import one_answer
from tests.exactness.cases import CASES

QUICK = (
    "--trainer.max_epochs=1", "--norm_diagnostics_every_n_steps=null", "--test_after_fit=false",
    "--data.train_probe=false", "--plots=false",
)  # fmt: skip
GPT2 = "{model_type: gpt2, options: {n_embd: 32, n_layer: 2, n_head: 4, n_positions: 128}}"
BYTES = "configs/language_modeling/tiny.yaml"
TASKS = {  # config, its data, arguments of fit; arguments of predict, what it reads
    **{
        name: (case.config, case.data, (*case.small, *QUICK, "--average_checkpoints=null"), more, read)
        for (name, case), (more, read) in zip(
            CASES.items(),
            (
                ((), "a warm and clever film\na dull and tired mess\n"),
                ((), "The red house sees the old tree.\n"),
                (("--model.sampling={length: 40, temperature: 0}",), "The \n"),
                ((), "The red dog sees a house.\n"),
                ((), "The red dog sees a house.\n"),
            ),
            strict=True,
        )
    },
    "windows": (
        BYTES, "tiny_bytes",
        ("--data.memory=false", "--data.segment=32", "--data.streams=5", f"--model.backbone={GPT2}", *QUICK),
        ("--model.sampling={length: 40, temperature: 0}",), "The \n",
    ),
    "images": (
        "configs/classification/mnist_vit.yaml", "tiny_images", ("--data.batch_size=16", *QUICK), (),
        ",".join(["0"] * 784) + "\n",
    ),
    "convnet": (
        "configs/classification/mnist.yaml", "tiny_images", ("--data.batch_size=16", *QUICK), (),
        ",".join(["0"] * 784) + "\n",
    ),
}  # fmt: skip
SCORED = ("--average_checkpoints=2", "--test_after_fit=true", "--data.train_probe=true")
LOADS_PLAINLY = {"images", "windows", "classification", "translation", "language_modeling", "parsing_biaffine"}


def fit(name: str, norm: str, root: Path, sources: dict[str, Path], *more: str) -> Path:
    """The folder of a finished run."""
    config, data, settings, _, _ = TASKS[name]
    places = [f"--data.source={sources[data]}", f"--run_root={root / 'runs'}", f"--data.cache_dir={root / 'cache'}"]
    assert train_py(["fit", "--config", str(ROOT / config), *settings, *places, "--norm", norm, *more]) == 0
    return only_run(root / "runs")


def said_by_the_card(folder: Path, capsys) -> str:
    """What the Python of the card prints, run as it stands."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    capsys.readouterr()
    exec(compile(code, str(folder / "README.md"), "exec"), {})
    return capsys.readouterr().out


def predicted(name: str, run: Path, tmp_path: Path) -> str:
    _, _, _, more, read = TASKS[name]
    source = tmp_path / ("read.csv" if read.startswith("0,") else "read.txt")
    source.write_text(read, encoding="utf-8")
    places = [f"--data.predict_source={source}", f"--output={tmp_path / 'predicted'}"]
    assert train_py(["predict", "--config", str(run / "config.yaml"), *more, *places]) == 0
    return (tmp_path / "predicted").read_text(encoding="utf-8")


def assert_same(name: str, said: str, expected: str) -> None:
    """That the card's lines and predict say the same, each in its way."""
    records = expected.splitlines()
    if name in ("classification", "images", "convnet"):
        for line, record in zip(said.splitlines(), map(json.loads, records), strict=True):
            numbers = json.loads(line[line.index("[") :])
            assert numbers == pytest.approx(list(record["probabilities"].values()), abs=1e-5)
            assert f"{record['label']} [" in line
    elif name in ("language_modeling", "windows"):
        (record,) = map(json.loads, records)
        assert said == f"{record['prompt']}{record['continuation']}\n"
    else:
        assert said == expected


@pytest.mark.parametrize("name", mostly_slow(TASKS, "classification"))
def test_the_lines_of_the_card_give_what_predict_gives(name, tmp_path, monkeypatch, sources, capsys):
    monkeypatch.chdir(tmp_path)
    run = fit(name, "layernorm_simple", tmp_path, sources)
    assert main([str(run), "--to", "exported"]) == 0
    folder = tmp_path / "exported"
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {folder.stat().st_mode & 0o666}
    printed = capsys.readouterr().out
    assert ("stock transformers" in printed) == (name in LOADS_PLAINLY)
    assert ("app.export.load_parser" if name.startswith("parsing") else "app.backbones.load_model") in printed
    assert_same(name, said_by_the_card(folder, capsys), predicted(name, run, tmp_path))
    config = json.loads((folder / "config.json").read_text())
    assert config["norm_workbench"]["norm"]["name"] == "layernorm_simple"
    assert len(config["norm_workbench"]["norm_sites"]) == read_result(run)["norm"]["total"]
    if name == "classification":
        with pytest.warns(UserWarning, match="zero-element"), pytest.raises(ValueError, match="empty sequence"):
            transformers.pipeline("text-classification", str(folder))("a warm and clever film")  # not a random answer
    if name not in LOADS_PLAINLY:
        with pytest.raises(ValueError, match="with layernorm_simple: load it with app.backbones.load_model"):
            transformers.AutoModel.from_pretrained(folder)


@pytest.fixture(scope="module")
def adanorm_run(tmp_path_factory, sources):
    return fit("classification", "adanorm", tmp_path_factory.mktemp("adanorm"), sources, *SCORED)


def test_another_norm_is_loaded_by_us_and_refused_by_plain_transformers(adanorm_run, tmp_path, capsys):
    folder = tmp_path / "new" / "exported"
    assert main([str(adanorm_run), "--to", str(folder)]) == 0
    assert "app.backbones.load_model only" in capsys.readouterr().out
    assert_same("classification", said_by_the_card(folder, capsys), predicted("classification", adanorm_run, tmp_path))
    for cls in (transformers.AutoConfig, transformers.AutoModel, transformers.AutoModelForSequenceClassification):
        with pytest.raises(ValueError, match="load it with app.backbones.load_model"):
            cls.from_pretrained(folder)
    with pytest.raises(OSError, match="no file named model.safetensors"):
        transformers.BertModel.from_pretrained(folder)
    assert load_model(folder).config.norm_workbench["classes"] == ["neg", "pos"]
    assert [path.name for path in folder.parent.iterdir()] == ["exported"]


def test_the_card_says_what_the_model_is(adanorm_run, tmp_path):
    folder = tmp_path / "exported"
    assert main([str(adanorm_run), "--to", str(folder), "--ckpt_path", "best"]) == 0
    card = (folder / "README.md").read_text(encoding="utf-8")
    metadata = yaml.safe_load(card.split("---")[1])
    assert metadata["library_name"] == "transformers" and metadata["metrics"] == ["accuracy"]
    assert metadata["tags"] == ["norm-workbench", "classification", "adanorm", "bert"] and "license" not in metadata
    result = read_result(adanorm_run)
    for word in (
        result["signature"], result["data_fingerprint"], result["plan_fingerprint"], result["weights_fingerprint"],
        f"{result['best']['val']['accuracy']:.4f}", f"{result['gap']['best']['loss']:.4f}",
        f"torch {result['versions']['torch']}", "python train.py fit --config run.yaml", "embeddings.LayerNorm",
    ):  # fmt: skip
        assert word in card, word
    assert (folder / "run.yaml").read_bytes() == (adanorm_run / "config.yaml").read_bytes()


def test_which_weights_may_be_said(adanorm_run, tmp_path):
    heads = {}
    for flags in (("--ckpt_path", "last"), ("--ckpt_path", "best"), ("--average_checkpoints", "2"), ()):
        which = flags[1] if flags else "2"  # as the run's own settings say, and train.py test takes
        folder = tmp_path / (which if flags else "by default")
        assert main([str(adanorm_run), "--to", str(folder), *flags]) == 0
        heads[which] = load_file(folder / "head.safetensors")["classifier.weight"]
        card = (folder / "README.md").read_text(encoding="utf-8")
        assert ("| test |" in card) == (which == "2")  # the run tested its mean
        assert ("| valid |" in card) == (which != "2")
    best = torch.load(adanorm_run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(heads["best"], best["classifier.weight"])


class OwnTask(Task):
    """A classifier that someone wrote without a thought of exports."""

    name = "classification"
    batch_types = (TextBatch,)
    primary = ACCURACY
    metrics = (LOSS, ACCURACY)
    ratio_metrics = ("loss", "accuracy")

    def __init__(self, pooling: str, classifier_dropout: float, label_smoothing: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def build_head(self):
        self.classifier = nn.Linear(self.model.config.hidden_size, len(self.data_spec.labels))

    def train_loss(self, batch):
        raise NotImplementedError

    def evaluate(self, batch, split="val"):
        raise NotImplementedError

    def predict_step(self, batch, batch_idx):
        raise NotImplementedError


def test_a_users_own_task_is_exported_as_a_folder_and_refused_as_onnx(adanorm_run, tmp_path, capsys):
    run, folder = tmp_path / "run", tmp_path / "exported"
    shutil.copytree(adanorm_run, run)
    config = (run / "config.yaml").read_text()
    assert config.count("app.tasks.Classification") == 1
    (run / "config.yaml").write_text(config.replace("app.tasks.Classification", f"{__name__}.OwnTask"))
    assert main([str(run), "--to", str(folder)]) == 0
    assert said_by_the_card(folder, capsys) == ""  # its lines load the backbone and print nothing
    assert load_file(folder / "head.safetensors").keys() == {"classifier.weight", "classifier.bias"}
    assert main([str(run), "--to", "onnx"]) == 2
    answer = one_answer(capsys)
    assert "OwnTask cannot be exported to ONNX: it defines no forward_pass" in answer and "to export a folder" in answer
    assert not (run / "model.onnx").exists()


def _without(name):
    return lambda run: (run / name).unlink()


WRONG = {
    "no folder": (lambda run: shutil.rmtree(run), [], ["is not a run folder", "config.yaml"]),
    "no settings": (_without("config.yaml"), [], ["is not a run folder", "config.yaml"]),
    "a run that has not ended": (_without("result.json"), [], ["has not ended", "--ckpt_path last"]),
    "no best checkpoint": (_without("checkpoints/best.ckpt"), ["--ckpt_path", "best"], ["best.ckpt", "no file"]),
    "a broken checkpoint": (
        lambda run: (run / "checkpoints/best.ckpt").write_bytes(b"x"), ["--ckpt_path", "best"],
        ["best.ckpt is not a valid checkpoint"],
    ),
    "an account of another version": (
        lambda run: (run / "result.json").write_text('{"schema": 1}'), [], ["result.json has schema 1", "expected 2"],
    ),
    "a checkpoint that is not there": (None, ["--ckpt_path", "nowhere.ckpt"], ["nowhere.ckpt", "no file"]),
    "two ways to say which weights": (
        None, ["--ckpt_path", "best", "--average_checkpoints", "2"], ["--ckpt_path and --average_checkpoints"],
    ),
    "a mean of none": (None, ["--average_checkpoints", "0"], ["average_checkpoints is 0", "must be >= 1"]),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_answered_in_a_line(wrong, adanorm_run, tmp_path, capsys):
    damage, flags, words = WRONG[wrong]
    run = adanorm_run
    if damage is not None:
        run = tmp_path / "run"
        shutil.copytree(adanorm_run, run)
        damage(run)
    assert main([str(run), "--to", str(tmp_path / "exported"), *flags]) == 2
    answer = one_answer(capsys)
    for word in words:
        assert word in answer
    assert not (tmp_path / "exported").exists() and not list(tmp_path.glob(".*"))


def test_a_run_whose_data_are_gone_is_exported_all_the_same(adanorm_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(adanorm_run, run)
    config = (run / "config.yaml").read_text()
    assert "source: /" in config
    (run / "config.yaml").write_text(re.sub(r"source: /.*", "source: /nowhere", config))
    for folder, name in ((adanorm_run, "here"), (run, "elsewhere")):
        assert main([str(folder), "--to", str(tmp_path / name)]) == 0
    weights = [(tmp_path / name / "norm_model.safetensors").read_bytes() for name in ("here", "elsewhere")]
    assert weights[0] == weights[1]


def test_a_folder_with_files_is_not_written_into(adanorm_run, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert main([str(adanorm_run), "--to", str(tmp_path)]) == 2
    assert "exists and is not empty" in one_answer(capsys)
    assert main([str(adanorm_run), "--to", str(tmp_path / "notes.txt" / "below")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_signal_leaves_no_folder(adanorm_run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("app.export.folder.model_card", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    assert main([str(adanorm_run), "--to", str(tmp_path / "out" / "folder")]) == 143
    assert capsys.readouterr().err.splitlines()[-1] == "stopped by SIGTERM in export; nothing is written"
    assert not list((tmp_path / "out").iterdir())
