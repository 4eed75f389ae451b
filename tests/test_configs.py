"""Every YAML trains, with its own norm and with every other."""

from pathlib import Path

import pytest
import yaml

from app.norms import norm_names
from tests.conftest import ROOT, only_run, read_result

CONFIGS = sorted(
    path.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.yaml") if "data" in yaml.safe_load(path.read_text())
)


def shrink(config: Path, tiny_texts: Path, tiny_images: Path) -> list[str]:
    """Arguments that put tiny data into a config and end after two updates."""
    data_class = yaml.safe_load((ROOT / config).read_text())["data"]["class_path"]
    source = tiny_images if "Image" in data_class else tiny_texts
    steps = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", "--trainer.log_every_n_steps", "1"]
    return ["--data.source", str(source), "--data.val_fraction", "0.1", *steps]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_config_trains_validates_and_tests(config, train, tmp_path, tiny_texts, tiny_images):
    assert train("fit", config, *shrink(config, tiny_texts, tiny_images)) == 0
    result = read_result(only_run(tmp_path / "runs"))
    assert result["status"] == "finished"
    assert result["norm"]["name"] == yaml.safe_load((ROOT / config).read_text())["norm"]
    assert result["norm"]["replaced"] == result["norm"]["total"] > 0
    assert 0 <= result["test"]["accuracy"] <= 1


@pytest.mark.parametrize("norm", norm_names())
@pytest.mark.parametrize("config", ["configs/quickstart.yaml", "configs/classification/mnist.yaml"])
def test_every_norm_trains(config, norm, train, tmp_path, tiny_texts, tiny_images):
    arguments = shrink(Path(config), tiny_texts, tiny_images)
    assert train("fit", config, *arguments, "--norm", norm, "--test_after_fit", "false") == 0
    assert read_result(only_run(tmp_path / "runs"))["norm"]["name"] == norm


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_config_says_what_the_paper_fixes_and_what_we_chose(config):
    comments = " ".join(line for line in (ROOT / config).read_text().splitlines() if line.startswith("#"))
    assert "aper" in comments or config.name == "quickstart.yaml"
