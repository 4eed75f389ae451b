"""Which injected norms are ordinary ones, told by what they compute; plain transformers then loads the same."""

import pytest
import torch
import transformers
from torch import nn

from app.backbones import inject_norms, is_norm, load_model, save_model, to_stock_model
from app.norms import Norm, norm_names, register_norm
from app.norms import registry as norm_registry
from tests.backbones.families import FAMILIES, outputs, tiny

# norms that nn.LayerNorm with gain and bias can stand for, and RMSNorm with a gain
LAYER_NORMS = {"layernorm", "layernorm_simple", "layernorm_gain", "layernorm_bias"}
RMS_NORMS = {"rmsnorm", "simple_rmsnorm", "zero_centered_rmsnorm"}
RMS_FAMILIES = {"llama", "t5"}
WITHOUT_BIAS = {"modernbert"}


def _randomized(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return model.eval()


def _assert_loads_plainly(model, family, folder, auto_class=transformers.AutoModel):
    state = torch.get_rng_state()
    ordinary = to_stock_model(model)
    assert torch.equal(torch.get_rng_state(), state)
    save_model(ordinary, folder)
    for loaded in (auto_class.from_pretrained(folder), load_model(folder)):
        assert type(loaded) is type(model) and not any(isinstance(module, Norm) for module in loaded.modules())
        for ours, theirs in zip(outputs(loaded.eval(), family), outputs(model, family), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert any(isinstance(module, Norm) for module in model.modules())  # the model itself is as it was


@pytest.mark.parametrize("family", FAMILIES)
def test_layernorm_simple_is_ordinary_where_the_model_has_layernorms(family, tmp_path):
    model = tiny(family)
    inject_norms(model, "layernorm_simple")
    _randomized(model)
    if family in RMS_FAMILIES:
        assert to_stock_model(model) is None
    else:
        _assert_loads_plainly(model, family, tmp_path / "saved")


@pytest.mark.parametrize("name", norm_names())
@pytest.mark.parametrize("family", ["bert", "modernbert", "llama"])
def test_what_a_norm_computes_decides(family, name, tmp_path):
    model = tiny(family)
    inject_norms(model, name)
    _randomized(model)
    expected = RMS_NORMS if family in RMS_FAMILIES else LAYER_NORMS
    if family in WITHOUT_BIAS:
        expected = expected - {"layernorm", "layernorm_bias"}  # whose bias has no place there
    if name in expected:
        _assert_loads_plainly(model, family, tmp_path / "saved")
    else:
        assert to_stock_model(model) is None


def test_a_norm_of_ones_own_is_judged_in_the_same_way(monkeypatch, tmp_path):
    monkeypatch.setattr(norm_registry, "_REGISTRY", dict(norm_registry._REGISTRY))

    @register_norm("mine")
    class Mine(Norm):
        def normalize(self, x):
            return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + self.eps).sqrt()

    @register_norm("capped")
    class Capped(Mine):
        def normalize(self, x):
            return super().normalize(x).clamp(max=1.0)

    model = tiny("bert")
    inject_norms(model, "mine")
    _assert_loads_plainly(_randomized(model), "bert", tmp_path / "saved")
    inject_norms(model, "capped", sites=["layer.1"])
    assert to_stock_model(model) is None


def test_some_sites_and_several_norms(tmp_path):
    model = tiny("gpt2", "AutoModelForCausalLM")
    inject_norms(model, "layernorm_simple", sites="final")
    inject_norms(model, "layernorm_gain", sites=["ln_1"])
    _randomized(model)
    _assert_loads_plainly(model, "gpt2", tmp_path / "saved", transformers.AutoModelForCausalLM)
    inject_norms(model, "detachnorm", sites=["h.1.ln_2"])  # the same outputs, and other gradients
    assert to_stock_model(model) is None


def test_another_eps_is_another_norm():
    model = tiny("bert")
    inject_norms(model, "layernorm")
    model.embeddings.LayerNorm.eps = 1e-3
    assert to_stock_model(model) is None


def test_a_model_of_ours_is_not_one_of_transformers():
    from app.backbones import BackboneConfig, build_model
    from app.norms import NormSpec

    model = build_model(BackboneConfig("convnet"), NormSpec.parse("layernorm_simple")).model
    assert to_stock_model(model) is None


def test_an_untouched_model_is_ordinary(tmp_path):
    model = _randomized(tiny("bert"))
    ordinary = to_stock_model(model)
    assert [type(m) for m in ordinary.modules() if is_norm(m)] == [nn.LayerNorm] * 5
    assert all(torch.equal(a, b) for a, b in zip(outputs(ordinary, "bert"), outputs(model, "bert"), strict=True))
