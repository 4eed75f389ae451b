"""The walk-throughs of docs/extending.md do what the page says, each file of it in a copy of the project."""

import re
import shlex
import shutil
import subprocess
import sys

import pytest

from app.backbones import norm_sites, place_norms
from app.backbones.placement.layout import _PLACEMENTS
from app.errors import InputError
from app.runs.metrics_file import read_events
from tests.backbones.families import tiny
from tests.conftest import ROOT, only_run, read_result

PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
COMMAND = "python train.py fit --config configs/quickstart.yaml"
WRITTEN = ("app/norms/power.py", "app/backbones/placement/layouts/late_peri.py")  # by the reader
SHORT = (
    "--plots=false", "--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--data.val_fraction=0.1",
    "--model.backbone.options.num_hidden_layers=1",
)  # fmt: skip


def section(title: str) -> str:
    """The text of a section of the page."""
    (text,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return text


@pytest.fixture
def fit(tmp_path, tiny_texts):
    """Write the files of some sections into a copy of the project, and run their commands as one on tiny data."""
    for name in ("app", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "train.py", tmp_path)

    def fit(*titles: str):
        arguments: list[str] = []
        for title in titles:
            text = section(title)
            for path, content in re.findall(r"`(\S+\.(?:py|yaml))`[^\n]*:\n\n```(?:python|yaml)\n(.*?)```", text, re.S):
                (tmp_path / path).write_text(content)
            (command,) = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
            assert command.startswith(COMMAND)
            arguments += shlex.split(command.removeprefix(COMMAND))
        command = [sys.executable, *shlex.split(COMMAND)[1:], *arguments, f"--data.source={tiny_texts}", *SHORT]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return only_run(tmp_path / "runs")

    return fit


def test_a_placement_is_a_file(monkeypatch):
    monkeypatch.setattr("app.backbones.placement.layout._PLACEMENTS", dict(_PLACEMENTS))
    (content,) = re.findall(r"```python\n(.*?)```", section("A placement"), re.DOTALL)
    exec(compile(content, "late_peri.py", "exec"), {})
    model = tiny("gpt2")
    assert place_norms(model, "late_peri").signature == "late_peri(begin=0.5)"
    norms = [site.path for site in norm_sites(model) if site.path.endswith("output_norm")]
    assert norms == ["h.1.attn.c_proj.output_norm", "h.1.mlp.c_proj.output_norm"]  # the second of two blocks
    with pytest.raises(InputError, match="--placement late_peri: begin is 2.0; must be from 0 to 1"):
        place_norms(tiny("gpt2"), "late_peri", begin=2.0)


@pytest.mark.slow
def test_a_norm_a_callback_and_a_metric_are_a_file_each(fit):
    run = fit("A norm", "A callback", "A metric")
    result = read_result(run)
    assert (result["norm"]["name"], result["norm"]["options"]) == ("power", {"p": 4.0})
    assert result["norm"]["replaced"] == result["norm"]["total"] > 0
    (validation,) = [event for event in read_events(run) if "weights/norm" in event]
    assert result["weight_norm"] == [validation["weights/norm"]] and validation["weights/norm"] > 0
    assert result["best"]["val"]["accuracy"] <= result["best"]["val"]["top_two"] == 1  # there are two classes
    assert any("gap/top_two" in event for event in read_events(run))  # ours are still there


def test_every_path_of_the_page_exists():
    for path in re.findall(r"`((?:app|configs|tests)/[\w/.]+)`", PAGE):
        assert (ROOT / path).exists() or "NAME" in path or path in WRITTEN, path
    for anchor in re.findall(r"\]\(#([\w-]+)\)", PAGE):
        assert f"## {anchor.replace('-', ' ')}" in PAGE.lower()
