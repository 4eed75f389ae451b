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
from app.study.plan.check import check_settings
from tests.conftest import ROOT

STUDIES = sorted((ROOT / "configs/studies").glob("*.yaml"))


@pytest.fixture
def write(tmp_path):
    (tmp_path / "a.yaml").write_text("norm: layernorm\n")

    def write(**changes):
        content = {"configs": [str(tmp_path / "a.yaml")], "norms": ["layernorm", "adanorm"], "seeds": [1, 2], **changes}
        path = tmp_path / "study.yaml"
        content = {key: value for key, value in content.items() if value is not None}
        path.write_text(yaml.safe_dump(content, sort_keys=False))
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
    trials = study.trials(tmp_path)
    assert len(trials) == len(study.conditions) * len(study.variants) * len(study.seeds)
    check_settings(trials)


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


def test_axes_are_crossed_and_the_settings_of_one_mapping_change_together(write, tmp_path):
    lr, width, fraction = "model.optimizer.lr", "model.backbone.options.hidden_size", "data.train_fraction"
    crossed = read_study(write(axes={"model": {"optimizer": {"lr": ["1e-4", 1e-3]}}, fraction: [0.5, 1]}))
    labels = ["lr=0.0001, train_fraction=0.5", "lr=0.0001, train_fraction=1", "lr=0.001, train_fraction=0.5"]
    assert [one.label for one in crossed.conditions][:3] == [f"a, {label}" for label in labels]
    trials = crossed.trials(tmp_path)
    assert len(trials) == len({trial.root for trial in trials}) == len({trial.name for trial in trials}) == 16
    assert trials[2].root.relative_to(tmp_path).parts[1] == "a,lr=0.0001,train_fraction=1"
    assert " --model.optimizer.lr 0.0001 --data.train_fraction 1 " in trials[2].command
    long = read_study(write(axes={f"data.{'key' * 20}{number}": [1, 2] for number in range(4)})).trials(tmp_path)
    assert len({trial.root for trial in long}) == len(long) == 64
    assert max(len(part) for trial in long for part in trial.root.parts) < 256
    zipped = read_study(write(axes=[{lr: [1e-3, 1e-4], width: [8, 16]}, {fraction: [0.5, 1]}]))
    assert [dict(one.axes) for one in zipped.conditions] == [
        {lr: rate, width: wide, fraction: share} for rate, wide in ((1e-3, 8), (1e-4, 16)) for share in (0.5, 1)
    ]


def test_configs_may_be_several_files_and_have_settings_and_names_that_never_collide(write, tmp_path):
    a, b = str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")
    (tmp_path / "b.yaml").write_text("data: {init_args: {max_length: 8}}\n")
    own = {"data": {"init_args": {"max_length": 9}}, "trainer.max_epochs": 2}
    entries = [a, [a, b], {"config": a, "overrides": own}, {"config": [b, a], "name": "short"}]
    study = read_study(write(configs=entries, overrides={"trainer.max_epochs": 1}))
    assert [one.label for one in study.conditions] == ["a", "a+b", "a[max_length=9,max_epochs=2]", "short"]
    first = study.trials(tmp_path)[::2][:4]
    assert [trial.command.count("--config") for trial in first] == [1, 2, 1, 2]
    assert "--trainer.max_epochs 2" in first[2].command and "--trainer.max_epochs 1" not in first[2].command
    roots = [trial.root for trial in first]
    (tmp_path / "b.yaml").write_text("data: {init_args: {max_length: 7}}\n")  # each file is of what the run is
    again = [trial.root for trial in read_study(tmp_path / "study.yaml").trials(tmp_path)[::2][:4]]
    assert [old == new for old, new in zip(roots, again, strict=True)] == [True, False, True, False]


def test_what_every_run_starts_from_is_of_its_folder(write, tmp_path, monkeypatch):
    before = {trial.root for trial in read_study(write()).trials(tmp_path)}
    (tmp_path / "base.yaml").write_text("trainer: {gradient_clip_val: 0.5}\n")
    monkeypatch.setattr("app.study.plan.flags.BASE_CONFIG", tmp_path / "base.yaml")
    assert not before & {trial.root for trial in read_study(write()).trials(tmp_path)}


def test_norms_and_placements_may_have_settings_of_their_own(write, tmp_path):
    slow, rules = {"model.optimizer.lr": 1e-4}, [{"name": "dyt", "sites": "final"}, "adanorm"]
    norms = ["layernorm", {"name": "layernorm", "overrides": slow}, {"norm": rules, "overrides": slow}]
    placements = ["native", {"name": "pre", "overrides": {"trainer.max_epochs": 2}}]
    study = read_study(write(norms=norms, placements=placements, baseline=norms[1]))
    labels = [variant.label for variant in study.variants]
    assert labels[:2] == ["layernorm", "layernorm[lr=0.0001]"] and labels[2].endswith("[lr=0.0001]")
    assert labels[4] == "layernorm~pre(queries_and_keys=none)[lr=0.0001,max_epochs=2]" and len(set(labels)) == 6
    assert study.baseline == study.variants[1] and not study.baseline.is_plain and study.variants[0].is_plain
    trial = study.trials(tmp_path)[4]
    assert trial.command.count("--model.optimizer.lr 0.0001 --trainer.max_epochs 2") == 1
    assert read_study(write(norms=norms)).baseline.label == "layernorm"


def test_what_is_not_varied_has_the_first_seed_and_folds_are_tested_in_turn(write, tmp_path):
    def seeds_of(**changes):
        given = [
            dict(zip(trial.arguments[::2], trial.arguments[1::2], strict=True))
            for trial in read_study(write(norms=["none"], **changes)).trials(tmp_path)
        ]
        names = ("seed_everything", "init_seed", "order_seed", "dropout_seed", "data.split_seed", "data.fold")
        return [[one.get(f"--{name}") for name in names] for one in given]

    assert seeds_of() == [["1", *[None] * 5], ["2", *[None] * 5]]
    assert seeds_of(vary=["split", "order"])[1] == ["2", "1", None, "1", "2", None]
    assert [row[-2:] for row in seeds_of(seeds=[5, 6, 9, 11], folds=2, vary=["split"])] == [
        ["5", "0"],
        ["5", "1"],
        ["9", "0"],
        ["9", "1"],
    ]


def test_what_is_compared_and_looked_at_is_of_the_plan(write):
    study = read_study(write())
    assert study.looks == (2,) and study.claims == ("paper",) and study.margin == {} and study.tuning is None
    assert [(one.label, other.label) for one, other in study.comparisons] == [("adanorm(k=0.1,scale=1)", "layernorm")]
    chosen = read_study(
        write(
            norms=["layernorm", "adanorm", "none"],
            seeds=list(range(1, 9)),
            looks=[3, 5, 8],
            margin={"accuracy": 0.5, "bpc": "1e-2"},
            comparisons=[["adanorm", "none"], ["none", "layernorm"]],
            claims=[],
        )
    )
    assert chosen.looks == (3, 5, 8) and chosen.margin == {"accuracy": 0.5, "bpc": 0.01} and chosen.claims == ()
    assert [other.label for _, other in chosen.comparisons] == ["none", "layernorm"]


def test_variants_are_named_by_label_norm_or_norm_and_placement(write):
    both = ["adanorm", {"name": "adanorm", "overrides": {"trainer.max_epochs": 1}}]
    own = "adanorm(k=0.1,scale=1)[max_epochs=1]"
    pairs = [["adanorm", own], [{"norm": both[1], "placement": "pre"}, "adanorm"]]
    study = read_study(write(norms=both, placements=["native", "pre"], comparisons=pairs, controls=True))
    plain, placed = "adanorm(k=0.1,scale=1)", "adanorm(k=0.1,scale=1)~pre(queries_and_keys=none)[max_epochs=1]"
    assert [[one.label for one in pair] for pair in study.comparisons] == [[plain, own], [placed, plain]]
    for named, label in ((own, own), (both[1], own), ({"placement": "pre"}, "adanorm(k=0.1,scale=1)~pre")):
        assert read_study(write(norms=both, placements=["native", "pre"], baseline=named)).baseline.label.startswith(
            label
        )


def test_the_controls_are_variants_like_any_other(write, tmp_path):
    study = read_study(write(baseline="adanorm", controls=True))
    twin, broken = study.controls
    assert study.variants[2:] == (twin, broken) and not twin.is_plain and not broken.is_plain
    assert (twin.label, broken.label) == ("adanorm(k=0.1,scale=1)[null-twin]", "adanorm(k=0,scale=1e-06)[broken]")
    assert twin.norm == study.baseline.norm and len(study.comparisons) == 3
    command = study.trials(tmp_path)[2].command
    assert "--norm adanorm" in command and "--seed_everything 1 --dropout_seed 2147483649" in command
    commands = [trial.command for trial in read_study(write(controls=True, vary=["init"])).trials(tmp_path)]
    assert "--dropout_seed 1 " in commands[5] and "--dropout_seed 2147483649 " in commands[6]


def test_tuned_settings_are_not_crossed(write):
    axes = {"model.optimizer.lr": ["1e-4", 1e-3], "data.train_fraction": [0.5, 1]}
    common = {"model.optimizer.lr": 3e-4}
    study = read_study(write(axes=axes, tune=["model.optimizer.lr"], tuning_seeds=[101, 102], overrides=common))
    assert [one.label for one in study.conditions] == ["a, train_fraction=0.5", "a, train_fraction=1"]
    assert study.tuning.keys == ("model.optimizer.lr",) and study.tuning.grow == 2
    assert study.tuning.axes == (({"model.optimizer.lr": 1e-4}, {"model.optimizer.lr": 1e-3}),)


AXIS = {"model.optimizer.lr": [1e-4, 1e-3]}
TUNED = {"axes": AXIS, "tune": ["model.optimizer.lr"], "tuning_seeds": [9]}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"axes": [1]}, r"axes is \[1\]; must be a mapping such as"),
        ({"axes": {"model.optimizer.lr": 1e-3}}, "axes: model.optimizer.lr is 0.001; must be a list of its values"),
        ({"axes": {"model.optimizer.lr": [1e-3, "1e-3"]}}, "axes names lr=0.001 twice; list each once"),
        ({"axes": [{**AXIS, "data.max_length": [8]}]}, "max_length has 1 values; settings of one mapping change"),
        ({"axes": [AXIS, AXIS]}, "axes names model.optimizer.lr twice"),
        ({"axes": {"norm": ["none"]}}, "axes names norm, which the study sets itself; omit it"),
        ({"axes": AXIS, "overrides": {"model.optimizer.lr": 1}}, "overrides sets model.optimizer.lr, which axes sets"),
        (
            {"axes": AXIS, "norms": [{"name": "dyt", "overrides": {"model.optimizer.lr": 1}}]},
            r"norm or placement dyt.* sets model.optimizer.lr, which axes sets; omit one",
        ),
        ({"norms": [{"name": "none", "overrides": [1]}]}, r"overrides is \[1\]; must be a mapping such as"),
        (
            {
                "norms": [{"name": "none", "overrides": {"trainer.max_epochs": 1}}],
                "placements": [{"name": "pre", "overrides": {"trainer.max_epochs": 2}}],
            },
            "norm none and placement pre.* both override trainer.max_epochs; omit one",
        ),
        ({"configs": [{"file": "a.yaml"}]}, "must be a path, a list of them, or a mapping of config, name, overrides"),
        ({"configs": [{"config": "{a}", "name": "../x"}]}, "name is '../x'; must be a folder name"),
        ({"configs": ["{a}", {"config": "{a}", "name": "a"}]}, "configs names a twice; .* another `name`"),
        ({"looks": [2, 1]}, r"looks is \[2, 1\]; must be rising numbers of seeds, each >= 3, .* all seeds, 2"),
        ({"vary": ["batches"]}, r"vary is \['batches'\]; must be a list of some of init, order, dropout, split"),
        ({"vary": ["split"], "overrides": {"data.split_seed": 3}}, "overrides sets data.split_seed, which vary sets"),
        ({"folds": 1}, "folds is 1; must be a whole number >= 2"),
        ({"folds": 5}, "folds is 5, of which each seed tests one, and 2 seeds .*; list 5 seeds, or a multiple"),
        ({"margin": {"acuracy": 1}}, "margin: unknown metric 'acuracy'; use one such as accuracy"),
        ({"margin": {"accuracy": 0}}, "margin: accuracy is 0; must be a number > 0"),
        ({"margin": 1}, "margin is 1; must be a mapping of metrics"),
        ({"comparisons": "all"}, "comparisons is 'all'; must be baseline, or pairs such as"),
        ({"comparisons": [["none", "layernorm"]]}, "'none' is not the label of one variant; must be one of"),
        ({"comparisons": [["adanorm", "adanorm"]]}, "compares a variant with itself; name two"),
        ({"claims": "paper"}, "claims is 'paper'; must be a list of names in configs/claims, or of paths"),
        ({"controls": 1}, "controls is 1; must be true or false"),
        ({"axes": AXIS, "tune": ["lr"]}, r"tune is \['lr'\]; must be a list of keys of axes: model.optimizer.lr"),
        ({"axes": AXIS, "tune": ["model.optimizer.lr"]}, "tuning_seeds is None; must be a list of seeds"),
        ({"tuning_seeds": [9]}, "tuning_seeds is set, and nothing is tuned; omit it, or list keys of axes in tune"),
        ({**TUNED, "tuning_seeds": [2]}, "tuning_seeds and seeds both have 2; scores need seeds that chose nothing"),
        ({**TUNED, "axes": {"model.optimizer.lr": [1e-3]}}, "model.optimizer.lr has one value, and tune chooses among"),
        ({**TUNED, "axes": [{**AXIS, "trainer.max_epochs": [1, 2]}]}, "tune omits trainer.max_epochs, which changes"),
        (TUNED, "tune: config a does not set model.optimizer.lr, and all variants are also compared at its own"),
        ({**TUNED, "grow": -1}, "grow is -1; must be a whole number >= 0"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(value),
)  # fmt: skip
def test_a_wrong_key_is_answered_in_one_line(write, tmp_path, changes, says):
    path = write(**changes)
    path.write_text(path.read_text().replace("'{a}'", str(tmp_path / "a.yaml")))
    with pytest.raises(InputError, match=says) as refused:
        read_study(path)
    assert str(refused.value).startswith(f"{path}: ") and "\n" not in str(refused.value)
