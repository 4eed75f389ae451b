"""What the README shows does what it says."""

import re
import shutil
import subprocess
import sys

from app.norms import norm_names
from tests.conftest import ROOT, only_run, read_result
from tests.stand_ins import sentence_pairs, write_aligned, write_treebank

README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str, containing: str) -> str:
    """The fenced block of a language that contains some words."""
    (found,) = [text for text in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if containing in text]
    return found


def test_a_norm_of_your_own_is_one_file(tmp_path, tiny_texts):
    for name in ("app", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "train.py", tmp_path)
    (tmp_path / "app/norms/softsign.py").write_text(block("python", "Softsign"))
    command = block("bash", "softsign").split()
    assert command[:2] == ["python", "train.py"]
    small = ["--data.source", str(tiny_texts), "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2"]
    done = subprocess.run([sys.executable, *command[1:], *small], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = read_result(only_run(tmp_path / "runs"))
    assert result["norm"]["name"] == "softsign" and result["norm"]["options"] == {"sharpness": 0.5}
    assert result["norm"]["replaced"] == 9


def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(block("python", "save_model"), "README.md", "exec"), {})
    assert "-> adanorm(k=0.1,scale=2)" in capsys.readouterr().out
    assert (tmp_path / "vit-adanorm/config.json").exists()


def test_your_own_data_takes_flags_alone(tmp_path, monkeypatch):
    from app.cli import main

    monkeypatch.chdir(tmp_path)
    rows = [f"{'good' if i % 2 else 'bad'} thing number {i},{'five' if i % 2 else 'one'}" for i in range(60)]
    (tmp_path / "reviews.csv").write_text("review,stars\n" + "\n".join(rows) + "\n")
    command = block("bash", "reviews.csv").replace("\\\n", " ").split()
    command[command.index("--config") + 1] = str(ROOT / "configs/classification/rt.yaml")
    assert main([*command[2:], "--trainer.max_epochs", "1"]) == 0
    assert read_result(only_run(tmp_path / "runs"))["dataset"] == "mine"


def test_your_own_parallel_corpus_takes_flags_alone(tmp_path, monkeypatch):
    from app.cli import main

    monkeypatch.chdir(tmp_path)
    write_aligned(tmp_path / "corpus/all", ("en", "cs"), sentence_pairs(80))
    command = block("bash", "--data.source corpus").replace("\\\n", " ").split()
    command[command.index("--config") + 1] = str(ROOT / "configs/translation/gettext_en_de.yaml")
    assert main([*command[2:], "--trainer.max_epochs=1", "--test_after_fit=false"]) == 0
    assert read_result(only_run(tmp_path / "runs"))["dataset"] == "mine"


def test_your_own_bytes_take_flags_alone(tmp_path, monkeypatch):
    from app.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "book.txt").write_text("".join(f"{source} {target}\n" for source, target in sentence_pairs(60)))
    command = block("bash", "book.txt").split()
    command[command.index("--config") + 1] = str(ROOT / "configs/language_modeling/tiny.yaml")
    assert main([*command[2:], "--trainer.max_epochs=1"]) == 0
    assert read_result(only_run(tmp_path / "runs"))["dataset"] == "mine"


def test_your_own_treebank_takes_flags_alone(tmp_path, monkeypatch):
    from app.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "treebank").mkdir()
    for seed, part in enumerate(("train", "dev", "test")):
        write_treebank(tmp_path / f"treebank/own-{part}.conllu", 20, seed)
    command = block("bash", "--data.source treebank").split()
    command[command.index("--config") + 1] = str(ROOT / "configs/parsing/ud_lines.yaml")
    assert main([*command[2:], "--trainer.max_epochs=1"]) == 0
    assert read_result(only_run(tmp_path / "runs"))["dataset"] == "mine"


def test_every_norm_stands_in_the_table():
    table = re.findall(r"^\| `(\w+)`", README, re.MULTILINE)
    assert sorted(table) == norm_names()


def test_every_config_stands_in_the_text():
    for task in ("classification", "translation", "language_modeling"):
        for path in (ROOT / "configs" / task).glob("*.yaml"):
            assert f"`{path.stem}`" in README
            assert f"`{path.stem}`" in (ROOT / "data/README.md").read_text() or path.stem == "mnist_vit"
