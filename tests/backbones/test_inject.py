"""Injection: what is taken over, what must not change, what is refused."""

import copy
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm

from app.backbones import inject_norms, norm_sites
from app.backbones.inject import registered_norm
from app.errors import InputError
from app.norms import Norm, NormSpec, build_norm, norm_class, norm_names
from tests.backbones.families import FAMILIES, NEVER_USED, NORMS, backward, outputs, tiny, values


def _randomize_norms(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(1)
    for site in norm_sites(model):
        for parameter in site.module.parameters():
            nn.init.normal_(parameter, mean=1.0, std=0.3, generator=generator)


@pytest.mark.parametrize("name", norm_names())
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_with_every_norm(family, name):
    model = tiny(family).train()
    norm_paths = {site.path for site in norm_sites(model)}
    before, state = values(model), torch.get_rng_state()
    records = inject_norms(model, name)
    assert torch.equal(torch.get_rng_state(), state), "injection drew random numbers"
    assert [r.path for r in records] == [site.path for site in norm_sites(model)]
    assert {r.path for r in records} == norm_paths and len(records) == NORMS[family]
    assert all(type(model.get_submodule(path)) is norm_class(name) for path in norm_paths)
    assert all(module.training for module in model.modules())

    after = model.state_dict()
    outside = {key for key in before if key.rpartition(".")[0] not in norm_paths}
    assert outside == {key for key in after if key.rpartition(".")[0] not in norm_paths}
    assert all(torch.equal(after[key], before[key]) for key in outside), "a weight outside the norms changed"

    backward(model, family)
    unused = {key for key, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert unused == NEVER_USED.get(family, set())
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_without_gradient_are_those_of_the_original_model(family):
    model = tiny(family)
    backward(model, family)
    assert {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None} == NEVER_USED.get(
        family, set()
    )


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in ("t5", "llama")])
def test_layernorm_in_place_of_layernorm_changes_no_output(family):
    model = tiny(family).eval()
    _randomize_norms(model)
    before = outputs(model, family)
    records = inject_norms(model, "layernorm")
    for old, new in zip(before, outputs(model, family), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-5, atol=1e-6)
    has_bias = family != "modernbert"
    assert {r.copied for r in records} == {("weight", "bias") if has_bias else ("weight",)}
    assert {r.note for r in records} == {"" if has_bias else "has a new bias"}
    assert {r.dropped for r in records} == {()}


@pytest.mark.parametrize("family", ["t5", "llama"])
def test_rmsnorm_in_place_of_rmsnorm_changes_no_output(family):
    model = tiny(family).eval()
    _randomize_norms(model)
    before = outputs(model, family)
    inject_norms(model, "rmsnorm")
    for old, new in zip(before, outputs(model, family), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", ["t5", "llama"])
def test_layernorm_in_place_of_rmsnorm_is_allowed_and_noted(family):
    model = tiny(family)
    record = inject_norms(model, "layernorm", sites="final")[0]
    assert record.note == "replaces an RMSNorm, which does not subtract the mean; has a new bias"
    x = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.get_submodule(record.path)(x), F.layer_norm(x, (32,), eps=record.eps))


def test_patterns_are_searched_in_paths():
    model = tiny("bert")
    records = inject_norms(model, "layernorm_simple", sites=[r"layer\.1\.", "^embeddings"])
    expected = [
        "embeddings.LayerNorm",
        "encoder.layer.1.attention.output.LayerNorm",
        "encoder.layer.1.output.LayerNorm",
    ]
    assert [r.path for r in records] == expected
    assert [path for path, module in model.named_modules() if isinstance(module, Norm)] == expected


def test_a_pattern_that_matches_nothing_is_refused_and_nothing_is_changed():
    model = tiny("bert")
    message = r"'layer\.7' matches no norm of BertModel; its 5 norms: embeddings.LayerNorm"
    with pytest.raises(InputError, match=re.escape(message)):
        inject_norms(model, "layernorm_simple", sites=["embeddings", r"layer\.7"])
    assert not any(isinstance(module, Norm) for module in model.modules())


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("layernrom",), {}, "unknown norm 'layernrom'; did you mean 'layernorm'"),
        (("layernorm",), {"scael": 2}, "no option 'scael'"),
        (("layernorm", "finale"), {}, "sites 'finale'; allowed: all, attention, cross_attention"),
        (("layernorm", ["("]), {}, "is not a regular expression"),
    ],
)
def test_faults_of_a_person_are_input_errors(arguments, options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        inject_norms(tiny("bert"), *arguments, **options)


def test_a_model_without_norms_is_refused():
    with pytest.raises(InputError, match="Linear has no norm"):
        inject_norms(nn.Linear(3, 3), "layernorm")
    with pytest.raises(InputError, match="no norm to replace by dyt .*BatchNorm1d normalizes over other axes"):
        inject_norms(nn.Sequential(nn.BatchNorm1d(3)), "dyt")


def test_a_spec_says_everything():
    model = tiny("gpt2")
    spec = NormSpec.parse({"name": "layernorm_simple", "sites": ("ln_1$",)})
    assert [r.path for r in inject_norms(model, spec)] == ["h.0.ln_1", "h.1.ln_1"]
    assert NormSpec.parse(model.config.norm) == spec
    with pytest.raises(TypeError, match="has sites and options"):
        inject_norms(model, spec, sites="final")


def test_a_shared_instance_is_replaced_by_one_instance():
    norm = nn.LayerNorm(4)
    model = nn.Module()
    model.first, model.second, model.stack = norm, norm, nn.Sequential(nn.Linear(4, 4), norm)
    (record,) = inject_norms(model, "layernorm", sites=["stack"])
    assert model.first is model.second is model.stack[1] and isinstance(model.first, Norm)
    assert (record.path, record.note) == ("first", "shared with second, stack.1")


def test_dtype_mode_and_requires_grad_are_kept_for_each_site():
    model = nn.Sequential(nn.LayerNorm(4), nn.LayerNorm(4, eps=1e-3, dtype=torch.bfloat16).eval(), nn.LayerNorm(4))
    model[0].weight.requires_grad_(False)
    model[2].requires_grad_(False)
    records = inject_norms(model, "layernorm")
    assert [m.weight.dtype for m in model] == [torch.float32, torch.bfloat16, torch.float32]
    assert [m.weight.requires_grad for m in model] == [False, True, False]
    assert [m.bias.requires_grad for m in model] == [True, True, False]
    assert [m.training for m in model] == [True, False, True]
    assert [r.eps for r in records] == [m.eps for m in model] == [1e-5, 1e-3, 1e-5]


def test_what_a_frozen_model_gains_is_frozen_too():
    model = nn.Sequential(nn.Linear(4, 4), nn.RMSNorm(4)).requires_grad_(False)
    inject_norms(model, "layernorm")
    assert [p.requires_grad for p in model.parameters()] == [False] * 4
    inject_norms(model, "layernorm_simple")
    inject_norms(model, "layernorm")
    assert [p.requires_grad for p in model.parameters()] == [False] * 4


def test_a_norm_without_parameters_takes_dtype_from_its_surroundings():
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)).to(torch.bfloat16)
    inject_norms(model, "layernorm_simple")
    (record,) = inject_norms(model, "layernorm")
    assert model[1].weight.dtype == torch.bfloat16 and model[1].weight.requires_grad
    assert (record.copied, record.dropped, record.note) == ((), (), "has a new weight and bias")


def test_what_the_new_norm_has_no_place_for_is_recorded():
    (record,) = inject_norms(nn.Sequential(nn.LayerNorm(4)), "layernorm_simple")
    assert (record.old_class, record.new_norm, record.shape) == ("LayerNorm", "layernorm_simple", (4,))
    assert (record.copied, record.dropped) == ((), ("weight", "bias"))


def test_a_gain_stored_less_one_is_copied_as_the_gain():
    model = nn.Sequential(GemmaRMSNorm(4))
    nn.init.constant_(model[0].weight, 0.25)
    (record,) = inject_norms(model, "layernorm")
    assert model[0].weight.tolist() == [1.25] * 4 and model[0].weight.requires_grad
    assert "its gain was stored as gain - 1" in record.note
    inject_norms(model, "zero_centered_rmsnorm")
    assert model[0].weight.tolist() == [0.25] * 4


@pytest.mark.parametrize("name", norm_names())
def test_injecting_the_same_norm_again_keeps_all_its_values(name):
    model = nn.Sequential(build_norm(name, 4))
    _randomize_norms(model)
    before = values(model)
    (record,) = inject_norms(model, name, **registered_norm(model[0])[1])
    assert record.copied == tuple(key.removeprefix("0.") for key in before) and record.dropped == ()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_initialization_leaves_injected_norms_alone(family):
    model = tiny(family)
    inject_norms(model, "layernorm")
    _randomize_norms(model)
    before = values(model)
    model.init_weights()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    inject_norms(model, "layernorm_simple")
    model.apply(model._init_weights)  # asks each norm for a gain and a bias


@pytest.mark.parametrize("name", ["dyt", "adanorm"])  # with and without the weight that the fused path reads
def test_torchs_fused_inference_path_does_not_bypass_the_norm(name):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 8, dropout=0.0, batch_first=True)
    inject_norms(layer, name)
    x = torch.randn(1, 3, 8)
    expected = layer.train()(x)
    with torch.no_grad():
        torch.testing.assert_close(layer.eval()(x), expected)


def test_copies_of_an_injected_model_are_independent():
    model = tiny("gpt2")
    inject_norms(model, "layernorm")
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.ln_f.weight.fill_(3.0)
    assert model.ln_f.weight.tolist() == [1.0] * 32
    assert twin.config.norm == model.config.norm
