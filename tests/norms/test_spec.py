"""NormSpec: checked when it is made, short when it is printed, the same after a round trip."""

import dataclasses
import json
from typing import Any

import pytest

from app.norms import NormError, NormSpec


def test_is_complete_as_soon_as_it_exists() -> None:
    spec = NormSpec.parse({"name": "adanorm", "options": {"scale": "2"}})
    assert spec.rules[0].options == {"k": 0.1, "scale": 2.0}
    assert spec.rules[0].sites == "all"
    assert NormSpec.parse({"name": "adanorm", "options": None}).rules[0].options == {
        "k": 0.1,
        "scale": 1.0,
    }  # what an empty `options:` of a YAML brings


def test_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        NormSpec.parse("adanorm").rules = "layernorm"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("spec", "signature"),
    [
        (NormSpec.parse("layernorm"), "layernorm"),
        (NormSpec.parse("adanorm"), "adanorm(k=0.1,scale=1)"),
        (NormSpec.parse({"name": "adanorm", "options": {"scale": 2, "k": 1e-7}}), "adanorm(k=1e-07,scale=2)"),
        (NormSpec.parse("dyt"), "dyt(alpha_init=0.5)"),
    ],
)
def test_signature(spec: NormSpec, signature: str) -> None:
    assert spec.signature == signature


def test_signatures_differ_where_specs_differ() -> None:
    close = [
        NormSpec.parse({"name": "adanorm", "options": {"k": k}}).signature
        for k in (0.1, 0.1000001, 0.10000001, 1 / 3, 0.333333)
    ]
    assert len(set(close)) == len(close)
    assert not any("/" in signature for signature in close)


def test_sites_are_words_or_patterns() -> None:
    assert NormSpec.parse({"name": "none", "sites": "final"}).sites_label == "final"
    assert NormSpec.parse("none").sites_label == "all"
    one, other = (
        NormSpec.parse({"name": "none", "sites": [r"layer\.0\."]}),
        NormSpec.parse({"name": "none", "sites": [r"layer\.1\."]}),
    )
    assert one.rules[0].sites == (r"layer\.0\.",)
    assert one.sites_label.startswith("patterns-") and one.sites_label != other.sites_label
    assert one.sites_label == NormSpec.parse({"name": "layernorm", "sites": (r"layer\.0\.",)}).sites_label
    assert (
        NormSpec.parse({"name": "none", "sites": ["a", "b"]}).sites_label
        != NormSpec.parse({"name": "none", "sites": ["a|b"]}).sites_label
    )


@pytest.mark.parametrize(
    ("sites", "answer"),
    [
        ("fianl", "sites 'fianl'; allowed: all, attention, .*final, .* or a list"),
        ("layer.0", "sites 'layer.0'; allowed: all, attention, .*final, .* or a list"),
        (None, "sites None; allowed"),
        (3, "sites 3; allowed"),
        ([], "sites is an empty list"),
        (["ok", "layer[0"], r"'layer\[0' is not a regular expression \(unterminated character set"),
        ([3], "3 is not a regular expression"),
        ([None], "None is not a regular expression"),
    ],
)
def test_sites_that_cannot_be_meant_are_refused(sites: Any, answer: str) -> None:
    with pytest.raises(NormError, match=answer):
        NormSpec.parse({"name": "layernorm", "sites": sites})


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ({"name": "adanrom"}, "did you mean 'adanorm'"),
        ({"name": "adanorm", "options": {"scael": 1}}, "did you mean 'scale'"),
        ({"name": "adanorm", "options": {"k": "much"}}, "option k is 'much'; must be of type float"),
        ({"name": "adanorm", "options": {"k": "nan"}}, "k must be finite"),
        ({"name": "adanorm", "options": "k"}, "options must be names and values"),
    ],
)
def test_norm_and_options_are_checked(arguments: dict[str, Any], answer: str) -> None:
    with pytest.raises(NormError, match=answer):
        NormSpec.parse(arguments)


@pytest.mark.parametrize("sites", ["all", "final", [r"encoder\.", "norm$"]], ids=str)
def test_round_trip_through_json(sites: Any) -> None:
    spec = NormSpec.parse({"name": "adanorm", "options": {"k": 0.3}, "sites": sites})
    plain = json.loads(json.dumps(spec.to_dict()))
    assert plain == spec.to_dict()
    again = NormSpec.parse(plain)
    assert again == spec and hash(again) == hash(spec)
    assert (again.signature, again.sites_label) == (spec.signature, spec.sites_label)


def test_to_dict_is_a_copy() -> None:
    spec = NormSpec.parse("adanorm")
    spec.to_dict()["options"]["k"] = 7
    assert spec.rules[0].options["k"] == 0.1


RULES = [{"sites": "final", "name": "layernorm"}, {"sites": "qk", "name": "native"}, {"name": "adanorm"}]
LABORATORY = {"name": "layernorm", "weight_decay": 0.1, "lr_multiplier": 3, "freeze": ["bias", "gain"]}


@pytest.mark.parametrize(
    ("value", "signature", "label"),
    [
        (RULES, "layernorm@final+native@qk+adanorm(k=0.1,scale=1)", None),
        (
            {"name": "dyt", "options": {"alpha": 0.8}, "by_role": {"ffn": {"alpha": "0.2"}}},
            "dyt(alpha_init=0.8,ffn.alpha_init=0.2)",
            None,
        ),
        ({"name": "dyt", "options": {"alpha": "auto"}}, "dyt(alpha_init=auto)", None),
        (LABORATORY, "layernorm(weight_decay=0.1,lr_multiplier=3,freeze=gain+bias)", None),
        (
            {"name": "derf", "sites": "ffn", "embedding_scale": "auto"},
            "derf(alpha_init=0.5,shift_init=0)+embedding_scale(init=auto)",
            "derf(alpha_init=0.5,shift_init=0)+embedding_scale(init=auto)@ffn",
        ),
        ({"rules": RULES, "embedding_scale": 8}, None, None),
        ({"name": "none", "sites": ["attention", "ffn"]}, "none", "none@patterns-f0007ab5"),
    ],
    ids=str,
)
def test_rules_roles_and_the_laboratory_make_the_round_trip(value: Any, signature: str, label: str) -> None:
    spec = NormSpec.parse(value)
    again = NormSpec.parse(json.loads(json.dumps(spec.to_dict())))
    assert again == spec and hash(again) == hash(spec)
    assert again.to_dict() == spec.to_dict()
    assert signature is None or spec.signature == signature
    assert label is None or spec.label == label
    assert again.label == spec.label


def test_equal_rules_have_one_label_and_different_patterns_have_two() -> None:
    ffn, final = {"ffn": {"shift": 0.1, "alpha": 0.2}}, {"final": {"alpha": 1}}
    one = NormSpec.parse({"name": "derf", "by_role": {**ffn, **final}})
    other = NormSpec.parse({"name": "derf", "by_role": {**final, "qk": {}, "ffn": {"alpha": 0.2, "shift": 0.1}}})
    assert one == other and one.label == other.label
    labels = [NormSpec.parse({"name": "none", "sites": sites}).label for sites in (["a", "b"], ["a\nb"])]
    assert labels == ["none@patterns-7e18f737", "none@patterns-93ef86c5"]


def test_a_long_label_is_shortened_without_a_clash() -> None:
    many = [{"name": "adanorm", "options": {"k": k / 100}, "sites": [f"layer.{k}"]} for k in range(12)]
    one, other = NormSpec.parse(many), NormSpec.parse(many[::-1])
    assert len(one.label) < 130 and one.label != other.label
    assert one.label.startswith("adanorm-")
    assert one.label_is_short and one.in_words.startswith("`adanorm(k=0,scale=1)` at `layer.0`, else `adanorm(k=0.01")
    assert NormSpec.parse({"name": "none", "sites": ["ffn"]}).label_is_short
    assert not NormSpec.parse(RULES).label_is_short and NormSpec.parse(RULES).in_words == (
        "`layernorm` at final, else `native` at qk, else `adanorm(k=0.1,scale=1)` at all"
    )


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ([], "norm is an empty list; must have at least one rule"),
        ([{"name": "adanorm"}, "adanrom"], "rule 2 of norm: unknown norm 'adanrom'; did you mean 'adanorm'"),
        ({"rules": ["none"], "sites": "final"}, "norm has rules, which take no sites beside them"),
        ({"rules": "none"}, "norm.rules is 'none'; must be a list of norms"),
        ({"options": {}}, r"has no name; allowed: .*native"),
        ({"name": "native", "options": {"k": 1}}, "norm 'native' is the model's own and has no options"),
        ({"name": "dyt", "by_role": {"fnn": {"alpha": 1}}}, "by_role has no role 'fnn'; did you mean 'ffn'"),
        ({"name": "dyt", "by_role": {"ffn": 1}}, "by_role.ffn is 1; must be options"),
        ({"name": "dyt", "by_role": {"ffn": {"aplha": 1}}}, "norm 'dyt' has no option 'aplha'"),
        ({"name": "dyt", "options": {"alpha": 1, "alpha_init": 2}}, "'alpha' and 'alpha_init' are the same"),
        ({"name": "adanorm", "options": {"k": "auto"}}, "option k is 'auto'; must be of type float"),
        ({"name": "dyt", "options": {"alpha": "car"}}, "alpha_init is 'car'; must be of type float or auto"),
        ({"name": "none", "weight_decay": -1}, "weight_decay is -1; must be a number >= 0"),
        ({"name": "none", "lr_multiplier": "much"}, "lr_multiplier is 'much'; must be a number >= 0"),
        ({"name": "none", "freeze": "weight"}, "freeze is 'weight'; must be gain, bias, or a list of both"),
        ({"name": "none", "embedding_scale": 0}, "embedding_scale is 0, with which no block sees its input"),
        ({"name": "none", "embedding_scale": True}, "embedding_scale is True; must be a number or auto"),
        ({"name": "none", "scale": 1}, "norm has no key 'scale'; allowed: name, options, sites"),
        (3, "norm is 3; must be a name, a mapping of name, options"),
    ],
    ids=str,
)
def test_rules_that_cannot_be_meant_are_refused(value: Any, answer: str) -> None:
    with pytest.raises(NormError, match=answer):
        NormSpec.parse(value)
