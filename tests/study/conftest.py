"""A small study that runs, and studies whose runs were made up."""

import json

import pytest
import yaml

from app.study.plan import read_study
from tests.conftest import ROOT
from tests.exactness.cases import CASES

CASE = CASES["classification"]


@pytest.fixture
def study(tmp_path, tiny_texts):
    """Writes a study of two norms on one seed; what is given changes it."""

    def write(**changes):
        settings = dict(argument.removeprefix("--").split("=", 1) for argument in CASE.arguments(tiny_texts))
        settings |= {"data.cache_dir": str(tmp_path / "cache"), "trainer.max_epochs": 4, "checkpoint_every_steps": 1}
        content = {
            "configs": [str(ROOT / CASE.config)], "norms": ["layernorm", "detachnorm"], "seeds": [1],
            "overrides": settings, **changes,
        }  # fmt: skip
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
        return tmp_path / "study.yaml"

    return write


@pytest.fixture
def made(tmp_path):
    """Makes up the runs of a study; see `maker`."""
    return maker(tmp_path)


def maker(tmp_path):
    """Makes up the runs of a study: for each norm or label, the result of each seed, written into a folder.

    `others` has further datasets by name, whose results have all norms of the first.
    """

    def make(results, seeds=(1, 2, 3, 4), others=None, **settings):
        by_dataset = {"rt": results, **(others or {})}
        for name in by_dataset:
            (tmp_path / f"{name}.yaml").write_text("norm: layernorm\n")
        configs = [str(tmp_path / f"{name}.yaml") for name in by_dataset]
        content = {"configs": configs, "norms": list(results), "seeds": list(seeds), **settings}
        (tmp_path / "study.yaml").write_text(json.dumps(content))
        study = read_study(tmp_path / "study.yaml")
        trials = study.trials(tmp_path / "studies")
        for trial in trials:
            name = trial.condition.name
            ours = by_dataset[name]
            found = ours.get(trial.variant.label, ours.get(trial.variant.norm.name, {})).get(trial.seed)
            if found is not None:
                found = {**found, "dataset": name}
                folder = trial.root / "classification/rt/bert-4x128" / trial.variant.norm.label / f"seed{trial.seed}"
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "config.yaml").write_text("")
                (folder / "result.json").write_text(json.dumps(found))
                sites = {f"norm_grad/recentring/layer.{i}": 3e-9 for i in (0, 1)}
                sites |= {f"norm_grad/rescaling/layer.{i}": 1 - 0.02 / 10**i for i in (0, 1)}
                events = [
                    {"step": 10 * e, "epoch": e, "val/loss": 1 / e, "train_probe/loss": 0.5 / e, "gap/loss": 0.5 / e,
                     "val/accuracy": 0.7, **sites}
                    for e in (1, 2)
                ]  # fmt: skip
                (folder / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
        return study, trials

    return make
