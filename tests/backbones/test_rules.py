"""Rules: the first that matches a norm decides what stands there, with which options."""

import pytest
import torch
from torch import nn

from app.backbones import apply_norms, inject_norms, load_model, save_model
from app.errors import InputError
from app.norms import AUTO, NormSpec
from tests.backbones.families import outputs, tiny


def injected(family, norm):
    model = tiny(family)
    return model, apply_norms(model, NormSpec.parse(norm))


def test_the_first_rule_that_matches_counts():
    rules = [{"sites": "final", "name": "layernorm"}, {"sites": "qk", "name": "native"}, {"name": "adanorm"}]
    model, records = injected("qwen3", rules)
    by_role = {record.context.role: record.new_norm for record in records}
    assert by_role == {
        "final": "layernorm", "qk": "native", "attention": "adanorm(k=0.1,scale=1)", "ffn": "adanorm(k=0.1,scale=1)",
    }  # fmt: skip
    assert sum(record.is_replaced for record in records) == 5 and len(records) == 9
    assert type(model.layers[0].self_attn.q_norm).__name__ == "Qwen3RMSNorm"
    assert NormSpec.parse(model.config.norm) == NormSpec.parse(rules)


def test_a_norm_that_no_rule_matches_is_kept():
    _, records = injected("gpt2", [{"name": "rmsnorm", "sites": ["attention", "^h.1.ln_2$"]}])
    assert [record.path for record in records if record.is_replaced] == ["h.0.ln_1", "h.1.ln_1", "h.1.ln_2"]
    assert {record.new_norm for record in records if not record.is_replaced} == {"native"}


def test_options_by_role_and_auto_follow_the_role():
    _, records = injected("gpt2", {"name": "dyt", "options": {"alpha": 0.8}, "by_role": {"ffn": {"alpha": 0.2}}})
    assert {(record.context.role, record.new_norm) for record in records} == {
        ("attention", "dyt(alpha_init=0.8)"), ("ffn", "dyt(alpha_init=0.2)"), ("final", "dyt(alpha_init=0.8)"),
    }  # fmt: skip
    model, records = injected("gpt2", {"name": "derf", "options": {"alpha": AUTO}})
    assert {record.new_norm for record in records} == {"derf(alpha_init=1,shift_init=0)"}
    assert float(model.h[0].ln_1.alpha.detach()) == 1


def test_layernorm_scaled_knows_its_block_and_keeps_it_in_the_folder(tmp_path):
    _, records = injected("gpt2", "layernorm_scaled")
    assert [record.new_norm for record in records] == [
        f"layernorm_scaled(base=layernorm,layer={layer})" for layer in (1, 1, 2, 2, 1)
    ]
    model, records = injected("bart", {"name": "layernorm_scaled", "options": {"base": "rmsnorm"}})
    layers = [(record.context.role, int(record.new_norm[-2])) for record in records]
    encoder, decoder = ["attention", "ffn"], ["attention", "cross_attention", "ffn"]
    assert layers == [(role, number) for roles in (encoder, decoder) for role, number in [
        *((role, 1) for role in roles), *((role, 2) for role in roles), ("embedding", 1),
    ]]  # fmt: skip
    loaded = load_model(save_model(model.eval(), tmp_path / "scaled"))
    assert [repr(module) for module in loaded.modules()] == [repr(module) for module in model.modules()]


def test_layernorm_scaled_is_refused_where_blocks_cannot_be_found():
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    with pytest.raises(InputError, match="layer auto of norm 'layernorm_scaled' needs one forward pass, which Seq"):
        inject_norms(model, "layernorm_scaled")
    inject_norms(model, "layernorm_scaled", layer=2)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([{"name": "adanorm", "sites": "qk"}], r"sites: 'qk' matches no norm of GPT2Model; its 5 norms: .* \(2\)"),
        (
            ["adanorm", {"name": "layernorm", "sites": "final"}],
            r"rule 2 of norm \(layernorm@final\): earlier rules take all norms that it matches; put it before them",
        ),
        (
            [{"name": "none", "sites": ["ln_9"]}, "adanorm"],
            r"rule 1 of norm \(none@patterns-\w+\): sites: 'ln_9' matches no norm",
        ),
        (
            {"name": "dyt", "by_role": {"ffn": {"alpha": 1}, "qk": {"alpha": 2}}},
            r"by_role.qk: no norm that dyt takes in GPT2Model has this role; omit it; .*: attention \(2\), ffn \(2\)",
        ),
        (
            [{"name": "none", "sites": "final"}, {"name": "dyt", "by_role": {"final": {"alpha": 1}}}],
            r"rule 2 of norm \(.*\): by_role.final: no norm that dyt takes",
        ),
        ({"name": "adanorm", "freeze": "bias"}, r"freeze is bias, and no norm that adanorm\(.*\) takes has a bias"),
    ],
)
def test_a_rule_without_effect_is_refused_and_nothing_is_changed(rules, message):
    model = tiny("gpt2")
    with pytest.raises(InputError, match=message):
        inject_norms(model, NormSpec.parse(rules))
    assert type(model.ln_f).__name__ == "LayerNorm" and not hasattr(model.config, "norm")


@pytest.mark.parametrize(
    ("norm", "wish"),
    [
        ("layernorm_scaled", "layer auto of norm 'layernorm_scaled'"),
        ({"name": "dyt", "by_role": {"ffn": {"alpha": 1}}}, "norm.by_role"),
    ],
)
def test_what_depends_on_where_a_norm_stands_is_refused_for_one_that_no_forward_pass_reaches(norm, wish):
    model = tiny("gpt2")
    model.spare = nn.LayerNorm(16)
    with pytest.raises(InputError, match=f"{wish} needs to know where spare stands, and a forward pass of GPT2Model"):
        apply_norms(model, NormSpec.parse(norm))
    assert type(model.ln_f) is type(model.spare) is nn.LayerNorm
    records = apply_norms(model, NormSpec.parse([{"name": "native", "sites": ["spare"]}, norm]))
    assert [record.path for record in records if not record.is_replaced] == ["spare"]


def test_freeze_holds_for_the_norms_of_its_rule_alone_and_for_native_ones():
    model, _ = injected(
        "gpt2",
        [
            {"name": "layernorm", "sites": "attention", "freeze": "gain"},
            {"name": "native", "sites": "final", "freeze": ["bias", "gain"]},
            "layernorm",
        ],
    )
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {"h.0.ln_1.weight", "h.1.ln_1.weight", "ln_f.weight", "ln_f.bias"}


@pytest.mark.parametrize("first", ["layernorm", "native"])
@pytest.mark.parametrize("then", ["layernorm", "native", "dyt"])
def test_what_an_earlier_rule_froze_trains_again_and_what_the_user_froze_does_not(first, then):
    model = tiny("gpt2")
    model.ln_f.bias.requires_grad_(False)
    apply_norms(model, NormSpec.parse({"name": first, "freeze": ["gain", "bias"]}))
    assert not model.h[0].ln_1.weight.requires_grad and not model.ln_f.weight.requires_grad
    apply_norms(model, NormSpec.parse(then))
    assert {name for name, parameter in model.named_parameters() if not parameter.requires_grad} == {"ln_f.bias"}


def test_a_mixed_model_comes_back_from_a_folder(tmp_path):
    rules = [
        {"name": "native", "sites": "final"},
        {"name": "dyt", "options": {"alpha": AUTO}, "sites": "ffn"},
        {"name": "adanorm", "options": {"k": 0.3}},
    ]
    model, _ = injected("gpt2", rules)
    loaded = load_model(save_model(model.eval(), tmp_path / "mixed"))
    assert [repr(module) for module in loaded.modules()] == [repr(module) for module in model.modules()]
    for one, other in zip(outputs(model, "gpt2"), outputs(loaded, "gpt2"), strict=True):
        assert torch.equal(one, other)
    assert NormSpec.parse(loaded.config.norm) == NormSpec.parse(rules)
