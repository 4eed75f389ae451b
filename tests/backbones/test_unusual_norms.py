"""Norms without parameters, over channels-first maps, and such as the model reads a gain of: found, replaced, saved."""

import copy
import functools
import re
from collections import Counter

import pytest
import torch
from torch import nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.llama4.modeling_llama4 import Llama4TextL2Norm
from transformers.models.mamba2.modeling_mamba2 import MambaRMSNormGated
from transformers.models.nanochat.modeling_nanochat import NanoChatRMSNorm
from transformers.models.olmo.modeling_olmo import OlmoLayerNorm

from app.backbones import (
    BackboneConfig,
    build_model,
    inject_norms,
    is_norm,
    left_norms,
    load_model,
    norm_sites,
    save_model,
    to_stock_model,
)
from app.backbones.example_input import example_input
from app.backbones.one_pass import tensors_in
from app.callbacks.diagnostics.norm_hooks import NormHooks, norms_of
from app.norms import Norm, build_norm

_TEXT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
_MAMBA = {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "conv_kernel": 2}

# For each model type: options; for each class of norm, the norm of ours that computes it and how many there are,
# counted by hand in the model's structure; how many are left.
TYPES: dict[str, tuple[dict, dict[str, tuple[str, int]], int]] = {
    # after the embeddings and the last layer none has a gain, nor those of queries and keys
    "nanochat": ({**_TEXT, "num_key_value_heads": 4}, {"NanoChatRMSNorm": ("simple_rmsnorm", 1 + 2 * 4)}, 0),
    "olmo": ({**_TEXT, "num_key_value_heads": 4}, {"OlmoLayerNorm": ("layernorm_simple", 2 * 2 + 1)}, 0),
    "llama4_text": (
        {**_TEXT, "num_key_value_heads": 4, "head_dim": 8, "intermediate_size_mlp": 48, "num_local_experts": 2},
        {"Llama4TextL2Norm": ("simple_rmsnorm", 2), "Llama4TextRMSNorm": ("rmsnorm", 2 * 2 + 1)},
        0,
    ),
    # dt, B and C of a layer have norms of other widths than the gains that these keep for a kernel
    "falcon_mamba": (
        _MAMBA,
        {"FalconMambaWeightlessRMSNorm": ("simple_rmsnorm", 2 * 3), "FalconMambaRMSNorm": ("rmsnorm", 2 + 1)},
        0,
    ),
    "mamba": (_MAMBA, {"MambaRMSNorm": ("rmsnorm", 2 + 1)}, 0),  # reads its norms' weight.dtype
    "mamba2": ({**_MAMBA, "num_heads": 8, "head_dim": 8, "n_groups": 1}, {"Mamba2RMSNorm": ("rmsnorm", 2 + 1)}, 2),
    "squeezebert": (
        {**_TEXT, "embedding_size": 32},
        {"SqueezeBertLayerNorm": ("layernorm", 2 * 2), "LayerNorm": ("layernorm", 1)},
        0,
    ),
    "sam_vision_model": (
        {
            **{key: value for key, value in _TEXT.items() if key != "intermediate_size"},
            **{"output_channels": 8, "patch_size": 8, "mlp_dim": 48, "window_size": 2, "global_attn_indexes": [1]},
        },
        {"SamLayerNorm": ("layernorm", 2), "LayerNorm": ("layernorm", 2 * 2)},
        0,
    ),
}
DATA_OPTIONS = {"vocab_size": 60, "pad_token_id": 1, "image_size": 32, "num_channels": 1}


@functools.cache
def _built(model_type: str) -> tuple[nn.Module, dict]:
    torch.manual_seed(0)
    model = build_model(BackboneConfig(model_type, TYPES[model_type][0]), data_options=DATA_OPTIONS).model.eval()
    for site in norm_sites(model):
        for parameter in site.module.parameters():
            nn.init.normal_(parameter, mean=1.0, std=0.3)
    return model, example_input(model)


@pytest.fixture(params=TYPES)
def model_type(request):
    return request.param


@pytest.fixture
def model(model_type):
    return copy.deepcopy(_built(model_type)[0])


@pytest.fixture
def outputs(model_type):
    def compute(model):
        return [tensor for tensor in tensors_in(model(**_built(model_type)[1])) if tensor.is_floating_point()]

    return compute


def test_they_are_found(model_type, model):
    _, kinds, left = TYPES[model_type]
    before = torch.get_rng_state()
    assert Counter(type(site.module).__name__ for site in norm_sites(model)) == {c: n for c, (_, n) in kinds.items()}
    assert torch.equal(torch.get_rng_state(), before)
    assert len(left_norms(model)) == left


def test_the_models_own_kind_of_norm_changes_no_output(model_type, model, outputs):
    expected = outputs(model)
    for name in {name for name, _ in TYPES[model_type][1].values()}:
        of_kind = [
            s.path for s in norm_sites(model) if TYPES[model_type][1].get(type(s.module).__name__, ("",))[0] == name
        ]
        records = inject_norms(model, name, [f"^{re.escape(path)}$" for path in of_kind])
        assert not any(record.dropped for record in records)
    for got, wanted in zip(outputs(model), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    stock = to_stock_model(model)
    assert stock is not None and not any(isinstance(module, Norm) for module in stock.modules())
    for got, wanted in zip(outputs(stock), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["layernorm", "none"])
def test_another_norm_trains_and_is_saved(model_type, model, outputs, tmp_path, name):
    inject_norms(model, name)
    norms = [module for module in model.modules() if isinstance(module, Norm)]
    assert len(norms) == sum(count for _, count in TYPES[model_type][1].values())
    got = outputs(model)
    sum(output.square().mean() for output in got).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for norm in norms for p in norm.parameters())
    if model_type == "mamba2":  # transformers does not read the infinity that it writes into this type's config.json
        return
    loaded = load_model(save_model(model, tmp_path / "model"))
    assert all(torch.equal(a, b) for a, b in zip(outputs(loaded), got, strict=True))


def test_a_norm_without_a_gain_offers_the_dtype_that_models_read(tmp_path):
    model, inputs = copy.deepcopy(_built("mamba")[0]).bfloat16(), _built("mamba")[1]
    names = [name for name, _ in model.named_parameters()]
    inject_norms(model, "none")
    assert model.norm_f.weight.dtype == torch.bfloat16
    assert [name for name in names if "norm" not in name] == [name for name, _ in model.named_parameters()]
    assert not any("norm" in name for name in model.state_dict())
    loaded = load_model(save_model(model, tmp_path / "model"))
    assert loaded.norm_f.weight.dtype == torch.bfloat16
    assert torch.equal(loaded(**inputs).last_hidden_state, model(**inputs).last_hidden_state)
    inject_norms(model, "rmsnorm")  # the new gain is a parameter again
    assert isinstance(model.norm_f.weight, nn.Parameter)


def test_a_norm_without_a_bias_has_none_where_the_old_one_had_one():
    model = nn.Sequential(nn.LayerNorm(4), nn.LayerNorm(4, elementwise_affine=False))
    inject_norms(model, "layernorm_simple")
    assert model[0].weight.tolist() == [1, 1, 1, 1] and model[0].bias is None
    assert model[1].weight is None and model[1].bias is None
    assert not list(model.parameters()) and not model.state_dict()


class Called(nn.Module):
    """Calls its norms with the given widths; a Hugging Face model as far as a made-up input is concerned."""

    main_input_name = "input_ids"

    def __init__(self, *calls: tuple[nn.Module, int]) -> None:
        super().__init__()
        self.norms = nn.ModuleList([norm for norm, _ in calls])
        self.widths = [width for _, width in calls]

    def forward(self, input_ids):
        return [norm(torch.ones(1, 2, width)) for norm, width in zip(self.norms, self.widths, strict=True)]


def test_a_width_is_that_of_the_inputs():
    twice, never = NanoChatRMSNorm(), NanoChatRMSNorm()
    model = Called(
        (NanoChatRMSNorm(eps=1e-3), 8), (Llama4TextL2Norm(), 6), (twice, 4), (twice, 5), (OlmoLayerNorm(3), 3)
    )
    model.never = never
    assert [(site.path, site.kind, site.shape, site.eps) for site in norm_sites(model)] == [
        ("norms.0", "rmsnorm", (8,), 1e-3),
        ("norms.1", "rmsnorm", (6,), 1e-6),
        ("norms.4", "layernorm", (3,), 1e-5),
    ]
    assert [(norm.path, norm.reason) for norm in left_norms(model)] == [
        ("norms.2", "is called with 4 and 5 features, and a norm has one width"),
        ("never", "does not say over how many features it normalizes, and no made-up input reaches it"),
    ]
    assert all(is_norm(module) for module in (*model.norms, never))


def test_what_has_an_eps_and_no_parameters_need_not_be_a_norm():
    class Shrink(nn.Module):
        eps = 0.1

        def forward(self, x):
            return x / (x.abs() + self.eps)

    model = nn.Sequential(Shrink())
    assert norm_sites(model) == [] and left_norms(model) == []


@pytest.mark.parametrize(("axis", "sizes"), [(-2, (3, 4, 5)), (-3, (3, 4, 5, 2))])
@pytest.mark.parametrize("name", ["layernorm", "rmsnorm", "adanorm", "dyt", "none"])
def test_channels_first_is_features_last_with_the_axis_moved(name, axis, sizes):
    x = torch.randn(sizes, generator=torch.Generator().manual_seed(0))
    first, last = build_norm(name, 4), build_norm(name, 4)
    first.axis = axis
    seen = []
    model = nn.ModuleDict({"first": first, "last": last})
    hooks = NormHooks(norms_of(model), seen.append)
    hooks.start()
    inputs = [x.clone().requires_grad_(), x.movedim(axis, -1).clone().requires_grad_()]
    outputs = [first(inputs[0]).movedim(axis, -1), last(inputs[1])]
    for output in outputs:
        (output * torch.arange(output.numel()).reshape(output.shape)).sum().backward()
    assert torch.equal(*outputs) and torch.equal(inputs[0].grad.movedim(axis, -1), inputs[1].grad)
    for of_first, of_last in zip(seen[0][2:], seen[1][2:], strict=True):
        assert of_first.shape == (x.numel() // 4, 4) and torch.equal(of_first, of_last)
    with pytest.raises(ValueError, match="normalizes over"):
        first(x.movedim(axis, -1))


def test_all_that_is_seen_and_not_replaced_is_named_with_the_reason():
    class PerHeadNorm(nn.LayerNorm):
        def forward(self, x):
            return nn.functional.layer_norm(x, x.shape[-1:]) * self.weight + self.bias

    per_head = PerHeadNorm((2, 4))
    per_head.normalized_shape = (4,)
    model = nn.ModuleDict({"gated": MambaRMSNormGated(4, group_size=2), "heads": per_head, "whole": LlamaRMSNorm(4)})
    assert [(norm.path, norm.reason) for norm in left_norms(model)] == [
        ("gated", "takes another input (gate) than the one it normalizes"),
        ("heads", "has a gain of shape (2, 4), and normalizes over (4,)"),
    ]
