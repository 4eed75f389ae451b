"""Every YAML trains, with its own norm and with every other."""

import re
from pathlib import Path

import pytest
import yaml

from app.norms import norm_names
from tests.conftest import ROOT, mostly_slow, only_run, read_result
from tests.exactness.first_updates import CONFIGS, SMALLER
from tests.stand_ins import tiny_data_arguments

SMALLEST = [
    "configs/quickstart.yaml", "configs/classification/mnist.yaml", "configs/translation/gettext_en_de.yaml",
    "configs/language_modeling/tiny.yaml", "configs/parsing/turkish.yaml", "configs/parsing/ptb.yaml",
]  # fmt: skip


def shrink(config: Path, folder: Path, sources: dict[str, Path]) -> list[str]:
    """Arguments that put tiny data into a config and end after two updates."""
    steps = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.log_every_n_steps=1"]
    steps += ["--trainer.val_check_interval=1.0", "--trainer.check_val_every_n_epoch=1", "--data.workers=0"]
    return [*tiny_data_arguments(config, folder, sources), *steps]


@pytest.mark.parametrize("config", mostly_slow(CONFIGS, *map(Path, SMALLEST[:4])), ids=str)
def test_a_config_trains_validates_and_tests(config, train, tmp_path, sources):
    assert train("fit", config, *shrink(config, tmp_path, sources), *SMALLER.get(config.stem, ())) == 0
    result = read_result(only_run(tmp_path / "runs"))
    assert result["status"] == "finished"
    assert result["norm"]["name"] == yaml.safe_load((ROOT / config).read_text())["norm"]
    assert result["norm"]["replaced"] == result["norm"]["total"] > 0
    primary = result["primary_metric"]["name"]
    for scores in (result["test"], result["best"]["val"], result["best"]["train_probe"]):
        assert 0 <= scores[primary] <= {"accuracy": 1, "bleu": 100, "bpc": 20, "las": 1}[primary]


DAILY = ("adanorm", "detachnorm", "none")
PAIRS = [  # every norm with the first config and with one of the others
    pytest.param(config, norm, marks=[] if config == SMALLEST[0] and norm in DAILY else pytest.mark.slow)
    for number, norm in enumerate(norm_names())
    for config in (SMALLEST[0], SMALLEST[1 + number % (len(SMALLEST) - 1)])
]


@pytest.mark.parametrize(("config", "norm"), PAIRS)
def test_every_norm_trains(config, norm, train, tmp_path, sources, capsys):
    arguments = shrink(Path(config), tmp_path, sources)
    assert train("fit", config, *arguments, "--norm", norm, "--trainer.fast_dev_run", "true") == 0
    printed = re.search(r"norms replaced: (\d+) of (\d+) \(all\)", capsys.readouterr().out)
    assert printed and printed[1] == printed[2] != "0"


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_config_says_what_the_paper_fixes_and_what_we_chose(config):
    comments = " ".join(line for line in (ROOT / config).read_text().splitlines() if line.startswith("#"))
    assert "aper" in comments or config.name == "quickstart.yaml"
