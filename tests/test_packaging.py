"""The project can be installed: its ranges allow the pinned versions, and a wheel has all that a run needs."""

import os
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from app.installation import config_path
from tests.conftest import ROOT, only_run, read_result

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins(path):
    """Names and exact versions of a requirements file."""
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in found}


def ranges(*extras):
    """Names and ranges of pyproject.toml: of the project itself, or of its extras."""
    lines = sum((PROJECT["optional-dependencies"][extra] for extra in extras), []) or PROJECT["dependencies"]
    found = [Requirement(line) for line in lines]
    return {canonicalize_name(one.name): one.specifier for one in found if one.name != PROJECT["name"]}


@pytest.mark.parametrize(
    ("path", "extras"),
    [
        ("requirements.txt", ()),
        ("tests/requirements.txt", ("dev", "onnx", "ray")),
        ("docs/requirements.txt", ("docs",)),
    ],
)
def test_the_pinned_versions_are_within_the_ranges(path, extras):
    pinned, allowed = pins(path), ranges(*extras)
    assert pinned.keys() == allowed.keys()
    assert not [name for name, version in pinned.items() if version not in allowed[name]]


def test_a_config_of_the_project_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config_path("configs/quickstart.yaml").samefile(ROOT / "configs/quickstart.yaml")
    for other in ("quickstart.yaml", "configs/../train.py", "configs/unknown.yaml"):
        assert str(config_path(other)) == other
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/quickstart.yaml").touch()
    assert str(config_path("configs/quickstart.yaml")) == "configs/quickstart.yaml", "the user's own comes first"


@pytest.mark.slow
def test_a_wheel_trains_from_an_empty_folder(tmp_path, tiny_texts):
    here = tmp_path / "empty"
    here.mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")]),
    }

    def call(*command):
        done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    call(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(ROOT))
    (wheel,) = tmp_path.glob("*.whl")
    call(*pip, "install", "--no-deps", "--no-index", "--target", str(tmp_path / "site"), str(wheel))
    program = str(tmp_path / "site/bin/norm-workbench")
    assert call(program, "--help").startswith("usage:")
    small = [f"--data.source={tiny_texts}", "--data.val_fraction=0.1", "--plots=false", "--data.batch_tokens=400"]
    call(program, "fit", "--config", "configs/quickstart.yaml", *small, "--trainer.max_steps=2")
    run = only_run(here / "runs")
    assert read_result(run)["final"]["step"] == 2
    # a study and inspect start runs of their own, by what the wheel has in the place of train.py
    inspect = [sys.executable, "-P", "-m", "app.study", "inspect", "--config", str(run / "config.yaml")]
    assert "norms" in call(*inspect, *small)
