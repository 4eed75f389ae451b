"""Each block of the README and of docs/ that a reader can copy does what the text next to it says."""

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from app.backbones import BackboneConfig, build_model, placement_names
from app.cli.main import main
from app.cli.norm import fold_norm
from app.norms import NormSpec, norm_names
from app.study.plan import read_study
from tests.conftest import ROOT, only_run, read_result
from tests.exactness.killer import Killed
from tests.stand_ins import sentence_pairs, write_aligned, write_treebank

PAGES = {path.stem: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]}
# what a command of each block is recognised by, and where it is executed: here, unless said otherwise
BLOCKS = {
    "README": (
        "--norm softsign", "reviews.csv", "--ckpt_path last", "torchrun", "--data.predict_source", "app.export",
        "app.study run", "pip install",  # the last: .ci/run
    ),
    "tutorial": ("inspect", "--norm layernorm", "app.study", "pip install"),
    "norms": ("--norm.options.scale", "--norm.by_role", "gettext_en_de", "--norm.freeze"),
    "models": ("--compile true", "tests.families"),  # tests/benchmark; a script over all model types
    "placement": (
        "--placement peri",  # tests/end_to_end/test_placements.py
        "tests.backbones.placement.table",  # tests/backbones/placement
    ),
    "tasks_and_data": (
        "reviews.csv", "digits", "--data.source corpus", "book.txt", "--data.source treebank", "mine.yaml",
    ),
    "diagnostics": ("inspect",),  # tests/study/test_inspect.py
    "studies": ("app.study run", "--from FOLDER", "compare RUN", "--engine ray"),  # tests/study
    "distributed_and_resuming": ("CONFIG",),  # tests/exactness
    "using_a_model": (  # tests/end_to_end
        "validate", "--data.test_source", "--data.predict_source", "app.export", "pretrained: FOLDER",
    ),
}  # fmt: skip
ELSEWHERE = {"extending", "speed"}  # pages whose commands other tests execute
QUICKSTART = ("--config", "configs/quickstart.yaml")
SHORT = ("--plots=false", "--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--data.val_fraction=0.1")


def block(language: str, containing: str, page: str = "README") -> str:
    """The fenced block of a language that contains some words."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.DOTALL)
    (found,) = [text for text in blocks if containing in text]
    return found


def commands(containing: str, run: object = "RUN", page: str = "README") -> list[list[str]]:
    """The words of each command of a block, a run's folder in the place of RUN."""
    lines = block("bash", containing, page).replace("\\\n", " ").splitlines()
    found = [shlex.split(line.partition("<")[0], comments=True) for line in lines]
    return [[word.replace("RUN", str(run)) for word in words] for words in found]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in, which has the project's configs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    return tmp_path


@pytest.fixture
def run(here, tiny_texts):
    """The folder of a short run of the quickstart."""
    assert main(["fit", *QUICKSTART, f"--data.source={tiny_texts}", *SHORT]) == 0
    return only_run(here / "runs")


def fit(containing: str, *small: str, page: str = "tasks_and_data") -> None:
    """Run the one command of a block, a fit, on less data."""
    (command,) = commands(containing, page=page)
    assert command[:3] == ["python", "train.py", "fit"]
    assert main([*command[2:], *small]) == 0


@pytest.mark.parametrize("page", BLOCKS)
def test_every_block_has_a_test(page):
    for text in re.findall(r"```bash\n(.*?)```", PAGES[page], re.DOTALL):
        assert any(words in text for words in BLOCKS[page]), text


def test_every_page_with_commands_is_known():
    assert {page for page, text in PAGES.items() if "```bash" in text} - ELSEWHERE == set(BLOCKS)


@pytest.mark.slow
def test_a_norm_of_your_own_is_one_file(tmp_path, tiny_texts):
    for name in ("app", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "train.py", tmp_path)
    (tmp_path / "app/norms/softsign.py").write_text(block("python", "Softsign"))
    (command,) = commands("softsign")
    assert command[:2] == ["python", "train.py"]
    small = [f"--data.source={tiny_texts}", *SHORT]
    done = subprocess.run([sys.executable, *command[1:], *small], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = read_result(only_run(tmp_path / "runs"))
    assert result["norm"]["name"] == "softsign" and result["norm"]["options"] == {"sharpness": 0.5}
    assert result["norm"]["replaced"] == 9


def test_the_python_example_runs(here, capsys):
    exec(compile(block("python", "save_model"), "README.md", "exec"), {})
    assert "-> adanorm(k=0.1,scale=2)" in capsys.readouterr().out
    assert (here / "vit-adanorm/config.json").exists()


@pytest.mark.parametrize(
    ("containing", "signature"),
    [
        ("--norm.options.scale", "adanorm(k=0.1,scale=2)"),
        ("--norm.by_role", "dyt(alpha_init=0.8,ffn.alpha_init=0.2)"),
        ("gettext_en_de", "layernorm@final+native@cross_attention+adanorm(k=0.1,scale=1)"),
        ("--norm.freeze", "layernorm(weight_decay=0.1,lr_multiplier=3,freeze=bias)"),
    ],
)
def test_the_commands_of_norms_mean_what_the_page_says(here, containing, signature):
    (command,) = commands(containing, page="norms")
    spec = NormSpec.parse(yaml.safe_load(fold_norm(command[2:], [])[-1]))
    assert spec.signature == signature
    if containing == "gettext_en_de":
        assert (
            signature in PAGES["norms"]
            and NormSpec.parse(yaml.safe_load(block("yaml", "cross_attention", "norms"))["norm"]) == spec
        )
        backbone = yaml.safe_load((ROOT / command[4]).read_text())["model"]["init_args"]["backbone"]
        counts = Counter(site.new_norm for site in build_model(BackboneConfig(**backbone), spec).sites)
        assert ", ".join(f"{count} {norm}" for norm, count in counts.items()) in PAGES["norms"]


def test_the_python_example_of_norms_runs(capsys):
    exec(compile(block("python", "build_norm", "norms"), "norms.md", "exec"), {})
    assert capsys.readouterr().out.endswith("torch.Size([8, 64])\n")


def test_the_python_example_of_placement_runs(capsys):
    exec(compile(block("python", "place_norms", "placement"), "placement.md", "exec"), {})
    assert capsys.readouterr().out.startswith("peri(queries_and_keys=head)\nlayers.0.self_attn.q_proj.output_norm")
    named = re.findall(r"^\| `(\w+)` \|", PAGES["placement"].partition("## What is equal")[0], re.MULTILINE)
    assert sorted(named) == placement_names()[1:]


@pytest.mark.slow
def test_the_tutorial_runs(here, tiny_texts, capfd):
    """All its commands in their order, on less data; test_a_study_is_run_and_reported has those of its study."""
    from app.study.__main__ import main as study

    for command in commands("inspect", page="tutorial"):
        assert study([*command[3:], f"--data.source={tiny_texts}"]) == 0
    for command in commands("--norm layernorm", page="tutorial"):
        assert main([*command[2:], f"--data.source={tiny_texts}", *SHORT]) == 0
    assert len(list((here / "runs/classification/rt/bert-4x128").iterdir())) == 2
    for containing in ("app.study run", "app.study status"):
        assert all(command in commands("app.study run") for command in commands(containing, page="tutorial"))


@pytest.mark.slow
def test_your_own_texts_take_flags_alone(here):
    rows = [f"{'good' if i % 2 else 'bad'} thing number {i},{'five' if i % 2 else 'one'}" for i in range(60)]
    (here / "reviews.csv").write_text("review,stars\n" + "\n".join(rows) + "\n")
    fit("reviews.csv", "--trainer.max_epochs=1")
    assert commands("reviews.csv") == commands("reviews.csv", page="tasks_and_data")
    assert read_result(only_run(here / "runs"))["dataset"] == "mine"


@pytest.mark.slow
def test_a_dataset_in_a_yaml(here):
    (here / "mine.yaml").write_text(block("yaml", "# mine.yaml", "tasks_and_data"))
    rows = [f"{'good' if i % 2 else 'bad'} thing number {i},{'five' if i % 2 else 'one'}" for i in range(60)]
    (here / "reviews.csv").write_text("review,stars\n" + "\n".join(rows) + "\n")
    fit("mine.yaml", *SHORT)
    assert only_run(here / "runs") == here / "runs/classification/mine/bert-4x128/adanorm(k=0.1,scale=1)/seed1"


@pytest.mark.slow
def test_your_own_pictures_take_flags_alone(here):
    (here / "digits").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, size=(60, 28 * 28))
    rows = [",".join(map(str, [*row, number % 3])) for number, row in enumerate(pixels)]
    (here / "digits/digits.csv").write_text("\n".join(rows) + "\n")
    fit("digits", "--trainer.max_epochs=1")
    assert read_result(only_run(here / "runs"))["dataset"] == "mine"


@pytest.mark.slow
def test_your_own_parallel_corpus_takes_flags_alone(here):
    write_aligned(here / "corpus/all", ("en", "cs"), sentence_pairs(80))
    fit("--data.source corpus", "--trainer.max_epochs=1", "--test_after_fit=false")
    assert read_result(only_run(here / "runs"))["dataset"] == "mine"


@pytest.mark.slow
def test_your_own_bytes_take_flags_alone(here):
    (here / "book.txt").write_text("".join(f"{source} {target}\n" for source, target in sentence_pairs(60)))
    fit("book.txt", "--trainer.max_epochs=1")
    assert read_result(only_run(here / "runs"))["dataset"] == "mine"


@pytest.mark.slow
def test_your_own_treebank_takes_flags_alone(here):
    (here / "treebank").mkdir()
    for seed, part in enumerate(("train", "dev", "test")):
        write_treebank(here / f"treebank/own-{part}.conllu", 20, seed)
    fit("--data.source treebank", "--trainer.max_epochs=1")
    assert read_result(only_run(here / "runs"))["dataset"] == "mine"


@pytest.mark.slow
def test_a_run_resumes(here, tiny_texts, capsys):
    settings = [f"--data.source={tiny_texts}", *SHORT, "--checkpoint_every_steps=1", "--data.batch_tokens=300"]
    killer = ["--trainer.callbacks+=tests.exactness.killer.KillAt", "--trainer.callbacks.hook=on_train_batch_start"]
    with pytest.raises(Killed):
        main(["fit", *QUICKSTART, *settings, *killer, "--trainer.callbacks.time=2"])
    fit("--ckpt_path last", *settings, page="README")
    assert "starting from the beginning" not in capsys.readouterr().out
    assert read_result(only_run(here / "runs"))["final"]["step"] == 2


@pytest.mark.slow
def test_several_processes_share_a_run(here, tiny_texts):
    """By torchrun; tests/exactness starts them by Lightning too, with the flags of the line above it."""
    by_lightning, (program, *words) = commands("torchrun")
    assert by_lightning[-4:] == ["--trainer.devices", "2", "--trainer.strategy", "ddp"] and program == "torchrun"
    words = [str(ROOT / word) if word == "train.py" else word for word in words]
    words += [f"--data.source={tiny_texts}", *SHORT, "--test_after_fit=false"]
    launch = [sys.executable, "-m", "torch.distributed.run", *words]
    done = subprocess.run(launch, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert read_result(only_run(here / "runs"))["cost"]["processes"] == 2


@pytest.mark.slow
def test_a_run_is_tested_and_asked(here, run, capsys, monkeypatch):
    (here / "new.txt").write_text("a warm funny film\na dull mess\n")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO((here / "new.txt").read_bytes())))
    test, to_file, to_screen = (command[2:] for command in commands("--data.predict_source", run))
    assert main(test) == 0
    assert "test/accuracy" in capsys.readouterr().out
    assert main(to_file) == 0
    records = [json.loads(line) for line in (here / "new.jsonl").read_text().splitlines()]
    assert [set(record) >= {"label", "probabilities"} for record in records] == [True, True]
    capsys.readouterr()
    assert main(to_screen) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3  # names of the columns, and two records
    for command in commands("validate", run, "using_a_model"):
        assert main(command[2:]) == 0


@pytest.mark.slow
def test_a_run_is_exported(here, run):
    from app.export.__main__ import main as export

    for command in commands("app.export", run):
        assert command[:3] == ["python", "-m", "app.export"]
        assert export(command[3:]) == 0
    assert (here / "my-model/config.json").exists() and (run / "model.onnx").exists()


@pytest.mark.slow
def test_a_study_is_run_and_reported(here, tiny_texts, capfd):
    from app.study.__main__ import main as study

    inspect, *others = commands("app.study run")
    assert study([*inspect[3:], f"--data.source={tiny_texts}"]) == 0
    (here / "configs").unlink()
    shutil.copytree(ROOT / "configs", here / "configs")
    plan = here / "configs/studies/quickstart.yaml"
    small = "\n".join([f"overrides: {{data.source: {tiny_texts}, trainer.max_epochs: 1, data.val_fraction: 0.1}}", ""])
    text = re.sub(r"(?m)^overrides:.*\n", small, re.sub(r"(?m)^seeds:.*$", "seeds: [1]", plan.read_text()))
    plan.write_text(re.sub(r"(?m)^norms:.*$", "norms: [layernorm, adanorm]", text))
    for command in others:
        assert command[:3] == ["python", "-m", "app.study"]
        assert study(command[3:]) == 0
    assert (here / "runs/studies/quickstart/report/report.html").exists()


def test_every_norm_is_in_the_pages():
    assert sorted(re.findall(r"^\| `(\w+)`", PAGES["norms"].partition("## Options")[0], re.MULTILINE)) == norm_names()
    api = (ROOT / "docs/api/norms.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^::: app\.norms\.(\w+)", api, re.MULTILINE)) == norm_names()
    assert all(f"`{name}`" in PAGES["README"] for name in norm_names())


def test_every_config_is_in_the_pages():
    for task in ("classification", "translation", "language_modeling", "parsing"):
        for path in (ROOT / "configs" / task).glob("*.yaml"):
            assert f"`{path.stem}`" in PAGES["tasks_and_data"]
            assert f"`{path.stem}`" in PAGES["datasets"] or path.stem == "mnist_vit"
    for path in (ROOT / "configs/studies").glob("*.yaml"):
        assert f"`{path.name}`" in PAGES["studies"]


@pytest.mark.slow
def test_the_output_that_the_pages_show_is_what_a_run_prints(here, tiny_texts, capsys):
    """Line by line, but for the numbers, and for what is read of other data."""
    assert main(["fit", *QUICKSTART, f"--data.source={tiny_texts}", *SHORT]) == 0
    captured = capsys.readouterr()
    printed = {_without_numbers(line) for line in (captured.out + captured.err).splitlines()}
    for page in ("README", "tutorial"):
        (shown,) = re.findall(r"among\s+other lines:\n\n```\n(.*?)```", PAGES[page], re.DOTALL)
        lines = [line for line in shown.splitlines() if not line.startswith("rt: ")]
        assert [line for line in lines if _without_numbers(line) not in printed] == []


def _without_numbers(line: str) -> str:
    """A line with a sign in the place of its numbers, digests and paths of modules."""
    return re.sub(r"encoder[.\w]+|\b[0-9a-f]{16}\b|-?\d[\d.,]*(e-\d+)?", "N", line).replace("embeddings.LayerNorm", "N")


def test_the_yaml_that_the_pages_show_is_read(here):
    assert (
        NormSpec.parse(yaml.safe_load(block("yaml", "scale: 2", "norms"))["norm"]).signature == "adanorm(k=0.1,scale=2)"
    )
    assert NormSpec.parse(yaml.safe_load(block("yaml", "derf", "norms"))["norm"]).embedding_scale == "auto"
    backbone = yaml.safe_load(block("yaml", "backbone", "models"))["model"]["init_args"]["backbone"]
    assert build_model(BackboneConfig(**backbone)).norms_total == 9
    (here / "study.yaml").write_text("name: shown\n" + block("yaml", "baseline", "studies"))
    assert len(read_study(here / "study.yaml").trials(here)) == 9
    (here / "study.yaml").write_text(block("yaml", "tuning_seeds", "studies"))
    shown = read_study(here / "study.yaml")
    assert (len(shown.conditions), len(shown.variants), len(shown.tuning.axes)) == (2, 5, 1)


def test_the_readme_is_a_door():
    """Short enough to read, and narrow enough for a diff."""
    lines = PAGES["README"].splitlines()
    assert len(lines) < 200 and max(map(len, lines)) <= 100


def test_what_the_pages_link_to_is_there():
    """Other pages; mkdocs build --strict checks those of docs/, with their headings."""
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "app/README.md", ROOT / "data/README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)[^):]*\)", path.read_text(encoding="utf-8")):
            assert os.path.exists(path.parent / target), f"{path.name}: {target}"


def test_the_map_of_the_code_names_files_that_exist():
    text = (ROOT / "app/README.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:\w+/)+\w+\.py)`", text)
    assert len(named) > 30
    assert [
        path for path in named if not any((ROOT / "app" / up / path).exists() for up in ("", "datamodules", ".."))
    ] == []
    folders = {path.parent.name for path in (ROOT / "app").glob("*/__init__.py")}
    assert [folder for folder in sorted(folders) if f"\n{folder}/" not in text] == []
