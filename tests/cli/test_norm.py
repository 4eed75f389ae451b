"""All spellings of the norm, on a command line and in YAML files, and what they come to together."""

import shlex

import pytest
import yaml

from app.cli.norm import fold_norm
from app.errors import InputError
from app.norms import NormError, NormSpec

DYT = {"name": "dyt", "options": {"alpha_init": 0.5}, "sites": "all"}
ADANORM = {"name": "adanorm", "options": {"k": 0.1, "scale": 1.0}, "sites": "all"}
RULES = [{"sites": "final", "name": "layernorm"}, "adanorm"]


def folded(*arguments, files=()):
    """What the parser gets."""
    read = fold_norm(["fit", *arguments], files)
    assert read[-2] == "--norm"
    return yaml.safe_load(read[-1])


def written(tmp_path, norm, name="mine.yaml"):
    (tmp_path / name).write_text(yaml.safe_dump({"norm": norm}))
    return tmp_path / name


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("--norm dyt --norm.by_role.ffn.alpha 0.2", {**DYT, "by_role": {"ffn": {"alpha_init": 0.2}}}),
        (
            "--norm dyt --norm.by_role '{ffn: {alpha: 0.2}}' --norm.by_role.final.alpha auto",
            {**DYT, "by_role": {"ffn": {"alpha_init": 0.2}, "final": {"alpha_init": "auto"}}},
        ),
        ("--norm dyt --norm.options.alpha=auto", {**DYT, "options": {"alpha_init": "auto"}}),
        ("--norm.sites qk --norm dyt", {**DYT, "sites": "qk"}),
        ("--norm adanorm --norm.sites [qk,layer.0]", {**ADANORM, "sites": ["qk", "layer.0"]}),
        (
            "--norm adanorm --norm.weight_decay 1e-5 --norm.lr_multiplier 3",
            {**ADANORM, "weight_decay": 1e-5, "lr_multiplier": 3.0},
        ),
        ("--norm dyt --norm.freeze gain", {**DYT, "freeze": ["gain"]}),
        ("--norm dyt --norm.freeze [bias,gain]", {**DYT, "freeze": ["gain", "bias"]}),
        ("--norm dyt --norm.freeze gain --norm adanorm", ADANORM),
        (
            "--norm.freeze gain --norm.options.alpha 1 --norm dyt",
            {**DYT, "options": {"alpha_init": 1}, "freeze": ["gain"]},
        ),
        ("--norm.options.k 2 --norm '{name: adanorm, options: {k: 3}}'", {**ADANORM, "options": {"k": 3, "scale": 1}}),
        ("--norm dyt --norm.weight_decay 1 --norm.weight_decay null", DYT),
        ("--norm derf --norm.embedding_scale auto --norm dyt", {**DYT, "embedding_scale": "auto"}),
        ("--norm [adanorm]", ADANORM),
        ("--norm '[{name: dyt, sites: qk}, adanorm]'", {"rules": [{**DYT, "sites": "qk"}, ADANORM]}),
        (
            "--norm [dyt,adanorm] --norm.embedding_scale 2",
            {"rules": [DYT, ADANORM], "embedding_scale": 2.0},
        ),
        ("--norm.rules [dyt,adanorm] --norm dyt", DYT),
    ],
)
def test_flags(typed, expected):
    assert folded(*shlex.split(typed)) == expected


def test_a_list_in_a_yaml_is_replaced_by_a_name_and_a_mapping_is_extended_by_flags(tmp_path):
    rules = written(tmp_path, RULES)
    assert folded("--config", str(rules)) == {
        "rules": [{"name": "layernorm", "options": {}, "sites": "final"}, ADANORM]
    }
    for flags in (["--norm", "dyt", "--norm.freeze", "bias"], ["--norm.freeze", "bias", "--norm", "dyt"]):
        assert folded("--config", str(rules), *flags) == {**DYT, "freeze": ["bias"]}
    base = written(tmp_path, {"name": "dyt", "by_role": {"ffn": {"alpha": 0.2}}, "sites": ["qk"]}, "base.yaml")
    assert folded("--norm.by_role.qk.alpha", "1", files=[base]) == {
        **DYT, "sites": ["qk"], "by_role": {"ffn": {"alpha_init": 0.2}, "qk": {"alpha_init": 1.0}},
    }  # fmt: skip
    assert folded("--config", str(rules), files=[base]) == folded("--config", str(rules))


@pytest.mark.parametrize(("in_file", "typed"), [("alpha", "alpha_init"), ("alpha_init", "alpha"), ("alpha", "alpha")])
def test_an_option_is_replaced_by_either_of_its_names(tmp_path, in_file, typed):
    norm = {"name": "dyt", "options": {in_file: 0.1}, "by_role": {"ffn": {in_file: 0.2}}}
    flags = [f"--norm.options.{typed}", "0.3", f"--norm.by_role.ffn.{typed}", "0.4"]
    assert folded("--config", str(written(tmp_path, norm)), *flags) == {
        **DYT, "options": {"alpha_init": 0.3}, "by_role": {"ffn": {"alpha_init": 0.4}},
    }  # fmt: skip
    with pytest.raises(NormError, match="'alpha' and 'alpha_init' are the same option"):
        folded("--norm", "dyt", "--norm.options", "{alpha: 1, alpha_init: 2}")


def test_what_a_run_writes_is_read_as_the_same_norm(tmp_path):
    laboratory = {"name": "layernorm", "sites": ["ffn", r"\d"], "freeze": "bias", "weight_decay": 1e-7}
    for norm in (RULES, [laboratory, "native"], {"rules": RULES, "embedding_scale": "auto"}, laboratory):
        plain = NormSpec.parse(norm).to_dict()
        assert folded("--config", str(written(tmp_path, plain))) == plain


def test_a_flag_cannot_change_a_key_of_rules(tmp_path):
    with pytest.raises(InputError, match="--norm.freeze: norm is a list of rules, whose keys a flag cannot change"):
        fold_norm(["fit", "--config", str(written(tmp_path, RULES)), "--norm.freeze", "gain"], [])


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("", {"name": "native", "options": {}}),
        ("--placement mix", {"name": "mix", "options": {"post_layers": 1}}),
        ("--placement.options.post_layers=3 --placement mix", {"name": "mix", "options": {"post_layers": 3}}),
        ("--placement.name mix --placement.options.post_layers 3", {"name": "mix", "options": {"post_layers": 3}}),
        ("--placement '{name: qk, options: {over: width}}'", {"name": "qk", "options": {"over": "width"}}),
        ("--config peri.yaml", {"name": "peri", "options": {"queries_and_keys": "width"}}),
        ("--config peri.yaml --placement qk", {"name": "qk", "options": {"over": "head"}}),
        ("--config peri.yaml --placement.options.queries_and_keys head --norm dyt",
         {"name": "peri", "options": {"queries_and_keys": "head"}}),
        ("--placement mix --config post.yaml", {"name": "post", "options": {}}),
    ],
)  # fmt: skip
def test_placements(typed, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "peri.yaml").write_text("placement: {name: peri, options: {queries_and_keys: width}}\nnorm: adanorm\n")
    (tmp_path / "post.yaml").write_text("placement: post\n")
    (*_, flag, value, _, _) = fold_norm(["fit", *shlex.split(typed)], [])
    assert flag == "--placement" and yaml.safe_load(value) == expected
