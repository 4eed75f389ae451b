"""YAML of runs and studies, and --norm, against PyYAML."""

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from app.backbones import PlacementSpec
from app.cli.norm import fold_norm
from app.errors.yaml_file import read_settings
from app.norms import NormSpec, norm_names
from app.study.plan import read_study
from tests.conftest import ROOT
from tests.fuzz.damage import damaged, fuzzed, outcome

LAYER = b"""\
norm: {name: adanorm, options: {k: 0.1}, sites: [layer.0]}
model: {init_args: {pooling: mean, optimizer: &o {lr: 1.0e-3}}}
data: # a remark
  init_args:
    source: 'x'
    labels: [a, "b"]
trainer:
  max_epochs: 3
"""
STUDY = b"""\
name: two
configs: [a.yaml]
norms: [layernorm, {name: adanorm, options: {k: 0.1}, sites: final}]
seeds: [1, 2]
baseline: layernorm
overrides: {trainer: {max_epochs: 3}, data.name: x}
retries: 2
"""
PLAN = b"""\
configs: [{config: [a.yaml, a.yaml], name: x, overrides: {data.init_args.y: 2}}]
norms: [none, {norm: [{name: dyt, sites: final}, adanorm], overrides: {trainer.max_epochs: 2}}]
placements: [native, {name: pre, overrides: {model: {pooling: mean}}}]
axes: [{model.optimizer.lr: [1e-3, 3.0e-3]}, {data.train_fraction: [0.5, 1], data.z: [a, null]}]
tune: [model.optimizer.lr]
tuning_seeds: [8, 9]
grow: 1
seeds: [1, 2, 3, 4]
looks: [3, 4]
vary: [init, split]
folds: 2
margin: {accuracy: 0.5, bpc: 1e-2}
comparisons: [[none, none~pre]]
claims: []
controls: true
overrides: {model.optimizer.lr: 0.5}
"""
OPTIONS = [
    "--norm",
    "--norm.name",
    "--norm.options",
    "--norm.options.k",
    "--norm.options.scale",
    "--norm.sites",
    "--norm.by_role",
    "--norm.by_role.ffn.alpha",
    "--norm.weight_decay",
    "--norm.freeze",
    "--norm.rules",
    "--norm.embedding_scale",
    "--placement",
    "--placement.options",
    "--placement.options.post_layers",
    "--norm.x",
]


@fuzzed
@given(content=damaged(LAYER))
@example(content=b"norm: 2024-99-99\n")
@example(content=b"a: &a [*a]\n")
@example(content=b"{a: &a [b, b, b, b, b, b, b, b, b], c: &c [" + b"*a, " * 9 + b"]}")
def test_a_layer_of_settings(content, tmp_path):
    path = tmp_path / "layer.yaml"
    path.write_bytes(content)
    read = outcome(lambda: read_settings(path, str(path), "give settings"), path)
    if read is not None:
        assert repr(read) == repr(yaml.safe_load(content.decode("utf-8-sig")))
    outcome(lambda: fold_norm(["fit", "--config", str(path)], []))


@fuzzed
@given(content=damaged(STUDY))
def test_a_study(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("norm: layernorm\n")
    path = tmp_path / "study.yaml"
    path.write_bytes(content)

    def commands() -> list[str]:
        return [trial.command for trial in read_study(path).trials(tmp_path)]

    read = outcome(commands, path, "a.yaml")
    if read is not None:
        said = yaml.safe_load(content.decode("utf-8-sig"))
        assert len(read) == len(set(read)) == len(said["configs"]) * len(said["norms"]) * len(said["seeds"])


@fuzzed
@given(content=damaged(PLAN))
@example(content=PLAN.replace(b"none~pre", b"'none~pre(queries_and_keys=none)[pooling=mean]'"))
def test_a_plan_with_all_keys(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("norm: layernorm\n")
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    read = outcome(lambda: [trial.root for trial in read_study(path).trials(tmp_path)], path, "a.yaml", "b.yaml")
    assert read is None or len(read) == len(set(read))


values = (
    st.sampled_from(
        [
            *norm_names(),
            "final",
            "all",
            "0.5",
            "-1",
            "1e400",
            "[layer.0]",
            "{name: dyt}",
            "mix",
            "{k: 2}",
            "~",
            "0x",
            "1_0",
            "gain",
            "auto",
            "{ffn: {k: 0.2}}",
            "[{name: dyt, sites: qk}, native]",
            "{rules: [none], embedding_scale: 2}",
        ]
    )
    | st.one_of(
        damaged(b"{name: adanorm, options: {k: 0.1, scale: 2}, sites: [layer.0, 'a|b']}"),
        damaged(b"[{name: dyt, by_role: {ffn: {alpha: auto}}, sites: final, freeze: [gain]}, {name: native}]"),
    ).map(lambda d: d.decode("latin-1"))
    | st.text(max_size=30)
)


@fuzzed
@given(typed=st.lists(st.tuples(st.sampled_from(OPTIONS), values), min_size=1, max_size=3))
@example(typed=[("--norm", "2024-99-99")])
@example(typed=[("--norm.sites", "[" * 1200)])
def test_what_is_typed_for_a_norm(typed):
    arguments = [f"{flag}={value}" for flag, value in typed]
    read = outcome(lambda: fold_norm(["fit", *arguments], [ROOT / "configs/base.yaml"]))
    if read is not None:
        assert [read[0], *read[-4::2]] == ["fit", "--placement", "--norm"] and len(read) == 5
        assert PlacementSpec.parse(yaml.safe_load(read[2])).to_dict() == yaml.safe_load(read[2])
        spec = NormSpec.parse(yaml.safe_load(read[-1]))
        assert spec.to_dict() == yaml.safe_load(read[-1])
