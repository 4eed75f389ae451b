"""Placements against Hugging Face's own pairs of families, the same weights in both."""

import pytest
import torch

from app.backbones import BackboneConfig, build_model, inject_norms
from app.backbones.placement import place_norms
from tests.backbones.families import DATA_OPTIONS, OPTIONS, OTHER_OPTIONS, batch

LLAMA = {**OPTIONS["llama"], "rms_norm_eps": 1e-5}
OLMO2 = {
    "self_attn.q_proj.output_norm": "self_attn.q_norm",
    "self_attn.k_proj.output_norm": "self_attn.k_norm",
    "self_attn.o_proj.output_norm": "post_attention_layernorm",
    "mlp.down_proj.output_norm": "post_feedforward_layernorm",
}
QWEN3 = dict(list(OLMO2.items())[:2])
GEMMA2 = {
    "self_attn.o_proj.output_norm": "post_attention_layernorm",
    "post_attention_layernorm": "pre_feedforward_layernorm",
    "mlp.down_proj.output_norm": "post_feedforward_layernorm",
}
MBART = {
    "encoder_attn.input_norm": "encoder_attn_layer_norm",
    "self_attn.input_norm": "self_attn_layer_norm",
    "fc1.input_norm": "final_layer_norm",
    "layers.1.end_norm": "layer_norm",
}
BART = {
    "encoder_attn.post_norm": "encoder_attn_layer_norm",
    "self_attn.post_norm": "self_attn_layer_norm",
    "fc2.post_norm": "final_layer_norm",
}
GEMMA = {
    **OTHER_OPTIONS["gemma2"], "attn_logit_softcapping": None, "final_logit_softcapping": None, "rms_norm_eps": 1e-5,
    "query_pre_attn_scalar": 8, "sliding_window": 64, "hidden_activation": "silu",
}  # fmt: skip

CASES = [
    ("llama", LLAMA, ("output", {"queries_and_keys": "width"}), "olmo2", {**LLAMA, "rms_norm_eps": 1e-5}, OLMO2),
    ("llama", {**LLAMA, "head_dim": 8}, ("qk", {}), "qwen3", {**LLAMA, "head_dim": 8}, QWEN3),
    ("llama", {**LLAMA, "head_dim": 8}, ("peri", {}), "gemma2", GEMMA, GEMMA2),
    ("bart", OPTIONS["bart"], ("pre", {}), "mbart", OPTIONS["mbart"], MBART),
    ("mbart", {**OPTIONS["mbart"], "dropout": 0.0}, ("post", {}), "bart", OPTIONS["bart"], BART),
]


def built(family, options):
    torch.manual_seed(0)
    return build_model(BackboneConfig(family, options), data_options=DATA_OPTIONS).model.eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("family", "options", "placement", "other", "other_options", "names"),
    CASES,
    ids=[f"{family}+{placement}={other}" for family, _, (placement, _), other, *_ in CASES],
)
def test_it_computes_what_the_other_family_computes(family, options, placement, other, other_options, names, dtype):
    name, settings = placement
    model, expected = built(family, options), built(other, other_options)
    place_norms(model, name, **settings)
    kind = "layernorm" if "bart" in family else "rmsnorm"
    inject_norms(model, kind)  # the float64 of these families is float32 in their own norms
    inject_norms(expected, kind)
    generator = torch.Generator().manual_seed(5)
    weights = {}
    for key, value in model.state_dict().items():
        is_vector = value.dim() == 1
        weights[key] = value + 0.3 * torch.randn(value.shape, generator=generator) if is_vector else value
    model.load_state_dict(weights)
    renamed = {}
    for key, value in weights.items():
        match = next((part for part in names if part in key), None)
        new = key if match is None else key.replace(match, names[match])
        if "embed_tokens" in key and other == "gemma2":
            value = value / 32**0.5  # its embeddings are multiplied by the root of the width
        renamed[new] = value
    missing = expected.load_state_dict(renamed, strict=False)
    assert not missing.unexpected_keys, missing.unexpected_keys
    assert not [key for key in missing.missing_keys if "norm" in key], missing.missing_keys
    model, expected = model.to(dtype), expected.to(dtype)
    with torch.no_grad():
        ours, theirs = model(**batch(family)).last_hidden_state, expected(**batch(family)).last_hidden_state
    largest = 1e-12 if dtype == torch.float64 else 1e-6
    if other == "gemma2" or (family, name) == ("llama", "qk") or other == "olmo2":
        largest = max(largest, 1e-6)  # they take the rotary embedding, or the softmax, in float32
    assert float((ours - theirs).abs().max()) <= largest * max(1.0, float(theirs.abs().max()))
