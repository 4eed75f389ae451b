"""A study's YAML: the commands that it yields, what changes a trial, and what is refused."""

import shlex
import subprocess
import sys

import pytest
import yaml

from app.backbones import PlacementSpec
from app.cli.norm import fold_norm
from app.errors import InputError
from app.norms import NormSpec
from app.study.__main__ import main
from app.study.plan import read_study
from tests.conftest import ROOT

STUDIES = sorted((ROOT / "configs/studies").glob("*.yaml"))


@pytest.fixture
def write(tmp_path):
    (tmp_path / "a.yaml").write_text("norm: layernorm\n")

    def write(**changes):
        content = {"configs": [str(tmp_path / "a.yaml")], "norms": ["layernorm", "adanorm"], "seeds": [1, 2], **changes}
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
        return path

    return write


def test_trials_are_commands_seed_by_seed(write, tmp_path):
    norms = ["layernorm", {"name": "adanorm", "options": {"k": 0.2}, "sites": ["layer.0", "final"]}]
    study = read_study(write(norms=norms, overrides={"trainer": {"max_epochs": 3}, "data.source": "a b"}))
    trials = study.trials(tmp_path / "studies")
    assert [(trial.variant.norm.name, trial.seed) for trial in trials] == [
        ("layernorm", 1), ("adanorm", 1), ("layernorm", 2), ("adanorm", 2)
    ]  # fmt: skip
    words = shlex.split(trials[1].command)
    assert words[:3] == ["python", "train.py", "fit"]
    given = dict(zip(words[3::2], words[4::2], strict=True))
    assert given.pop("--run_root") == str(trials[1].root) and given.pop("--ckpt_path") == "last"
    assert given == {
        "--config": str(tmp_path / "a.yaml"), "--norm": "adanorm", "--norm.options.k": "0.2",
        "--norm.options.scale": "1.0", "--norm.sites": '["layer.0", "final"]', "--seed_everything": "1",
        "--trainer.max_epochs": "3", "--data.source": "a b",
    }  # fmt: skip
    assert len({trial.root for trial in trials}) == 4
    assert study.baseline.norm.name == "layernorm" and study.name == "study" and study.retries == 1


def test_the_command_of_each_trial_has_its_norm(write, tmp_path):
    norms = [
        "layernorm",
        {"name": "layernorm", "freeze": ["gain", "bias"], "weight_decay": 0.1},
        [{"name": "native", "sites": "qk"}, {"name": "dyt", "by_role": {"ffn": {"alpha": 0.2}}}],
        {"rules": ["adanorm", "native"], "embedding_scale": "auto"},
    ]
    study = read_study(
        write(norms=norms, baseline={"name": "layernorm", "weight_decay": 0.1, "freeze": ["bias", "gain"]})
    )
    for trial in study.trials(tmp_path):
        folded = fold_norm(["fit", *trial.arguments], [])
        assert NormSpec.parse(yaml.safe_load(folded[-1])) == trial.variant.norm
    assert study.baseline.norm == study.norms[1] and not study.baseline.is_plain and study.norms[0].is_plain


@pytest.mark.parametrize("kept", [{"sites": "final"}, {"embedding_scale": 4}, {"lr_multiplier": 2}])
def test_a_config_whose_norm_would_outlast_the_norms_of_the_study_is_refused(write, tmp_path, kept):
    path = write()
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"norm": {"name": "dyt", **kept}}))
    with pytest.raises(InputError, match=rf"a.yaml sets norm.{next(iter(kept))}, which would also hold for norms of"):
        read_study(path)


def test_a_config_may_say_of_its_norm_what_holds_without_saying(write, tmp_path):
    path = write()
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"norm": NormSpec.parse("dyt").to_dict()}))
    assert [trial.variant.norm.name for trial in read_study(path).trials(tmp_path)][:2] == ["layernorm", "adanorm"]


def test_what_changes_a_run_changes_its_folder_and_no_other(write, tmp_path):
    roots = [trial.root for trial in read_study(write()).trials(tmp_path)]
    assert [trial.root for trial in read_study(write(seeds=[1, 2, 3])).trials(tmp_path)][:4] == roots
    changed = [trial.root for trial in read_study(write(overrides={"trainer.max_epochs": 9})).trials(tmp_path)]
    assert not set(changed) & set(roots)
    seen = set(roots)
    for width in (8, 16):  # also in a file that the config names
        (tmp_path / "a.yaml").write_text("norm: adanorm\nmodel: model.yaml\n")
        (tmp_path / "model.yaml").write_text(f"init_args: {{backbone: {{options: {{hidden_size: {width}}}}}}}\n")
        changed = {trial.root for trial in read_study(write()).trials(tmp_path)}
        assert len(changed) == 4 and not changed & seen
        seen |= changed


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_of_ours_is_sound(path, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    study = read_study(path)
    assert study.name == path.stem
    assert len(study.trials(tmp_path)) == len(study.configs) * len(study.variants) * len(study.seeds)


def test_a_dry_run_prints_the_commands_and_runs_nothing(write, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["run", str(write()), "--dry-run"]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert len(lines) == 4 and all(line.startswith("python train.py fit --config") for line in lines)
    assert said.err == "0 of 4 trials done\n"  # and how long the rest takes, once one is
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_the_reader_of_the_commands_may_close_the_pipe(write, tmp_path):
    command = f"{sys.executable} -m app.study run {write(seeds=list(range(500)))} --dry-run | head -1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr


def test_placements_are_combined_with_norms_and_native_changes_no_folder(write, tmp_path):
    native = read_study(write()).trials(tmp_path)
    path = write(placements=["native", {"name": "mix", "options": {"post_layers": 2}}])
    study = read_study(path)
    first = study.trials(tmp_path)[:4]
    labels = ["layernorm", "adanorm(k=0.1,scale=1)"]
    assert [trial.variant.label for trial in first] == [*labels, *(f"{label}~mix(post_layers=2)" for label in labels)]
    assert first[:2] == native[:2] and study.baseline == first[0].variant and not first[2].variant.is_plain
    assert first[3].root.parent.name == first[3].variant.label
    *_, flag, placement, _, _ = fold_norm(["fit", *first[3].arguments], [])
    assert flag == "--placement" and PlacementSpec.parse(yaml.safe_load(placement)) == first[3].variant.placement
    chosen = read_study(write(placements=["pre", "peri"], baseline={"placement": "peri"}))
    assert chosen.baseline.label == "layernorm~peri(queries_and_keys=none)"
    assert read_study(write(placements=["pre", "peri"], baseline="adanorm")).baseline == chosen.variants[1]
