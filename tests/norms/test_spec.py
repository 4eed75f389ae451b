"""NormSpec: checked when it is made, short when it is printed, the same after a round trip."""

import dataclasses
import json
from typing import Any

import pytest

from app.norms import NormError, NormSpec


def test_is_complete_as_soon_as_it_exists() -> None:
    spec = NormSpec("adanorm", {"scale": "2"})
    assert spec.options == {"k": 0.1, "scale": 2.0}
    assert spec.sites == "all"
    assert NormSpec("adanorm", None).options == {"k": 0.1, "scale": 1.0}  # what an empty `options:` of a YAML brings


def test_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        NormSpec("adanorm").name = "layernorm"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("spec", "signature"),
    [
        (NormSpec("layernorm"), "layernorm"),
        (NormSpec("adanorm"), "adanorm(k=0.1,scale=1)"),
        (NormSpec("adanorm", {"scale": 2, "k": 1e-7}), "adanorm(k=1e-07,scale=2)"),
        (NormSpec("dyt"), "dyt(alpha_init=0.5)"),
    ],
)
def test_signature(spec: NormSpec, signature: str) -> None:
    assert spec.signature == signature


def test_signatures_differ_where_specs_differ() -> None:
    close = [NormSpec("adanorm", {"k": k}).signature for k in (0.1, 0.1000001, 0.10000001, 1 / 3, 0.333333)]
    assert len(set(close)) == len(close)
    assert not any("/" in signature for signature in close)


def test_sites_are_words_or_patterns() -> None:
    assert NormSpec("none", sites="final").sites_label == "final"
    assert NormSpec("none").sites_label == "all"
    one, other = NormSpec("none", sites=[r"layer\.0\."]), NormSpec("none", sites=[r"layer\.1\."])
    assert one.sites == (r"layer\.0\.",)
    assert one.sites_label.startswith("patterns-") and one.sites_label != other.sites_label
    assert one.sites_label == NormSpec("layernorm", sites=(r"layer\.0\.",)).sites_label
    assert NormSpec("none", sites=["a", "b"]).sites_label != NormSpec("none", sites=["a|b"]).sites_label


@pytest.mark.parametrize(
    ("sites", "answer"),
    [
        ("fianl", "sites 'fianl'; allowed: all, final, or a list"),
        ("layer.0", "sites 'layer.0'; allowed: all, final, or a list"),
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
        NormSpec("layernorm", sites=sites)


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
        NormSpec(**arguments)


@pytest.mark.parametrize("sites", ["all", "final", [r"encoder\.", "norm$"]], ids=str)
def test_round_trip_through_json(sites: Any) -> None:
    spec = NormSpec("adanorm", {"k": 0.3}, sites)
    plain = json.loads(json.dumps(spec.to_dict()))
    assert plain == spec.to_dict()
    again = NormSpec(**plain)
    assert again == spec and hash(again) == hash(spec)
    assert (again.signature, again.sites_label) == (spec.signature, spec.sites_label)


def test_to_dict_is_a_copy() -> None:
    spec = NormSpec("adanorm")
    spec.to_dict()["options"]["k"] = 7
    assert spec.options["k"] == 0.1
