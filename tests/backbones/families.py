"""The 17 families that injection promises to work on, as tiny models, and one batch for each."""

import copy
import functools

import torch
from torch import Tensor, nn

from app.backbones import BackboneConfig, build_model

_ENCODER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
_SEQ2SEQ = {
    "d_model": 32,
    **{f"{part}_{key}": value for part in ("encoder", "decoder") for key, value in
       {"layers": 2, "attention_heads": 4, "ffn_dim": 48}.items()},
}  # fmt: skip

OPTIONS: dict[str, dict] = {
    "bert": _ENCODER,
    "roberta": _ENCODER,
    "electra": {**_ENCODER, "embedding_size": 16},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
    "albert": {**_ENCODER, "embedding_size": 16},
    "deberta": {**_ENCODER, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": {
        **_ENCODER, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "norm_rel_ebd": "layer_norm",
        "position_buckets": 8, "conv_kernel_size": 3,
    },
    "modernbert": _ENCODER,
    "roberta-prelayernorm": _ENCODER,
    "vit": {**_ENCODER, "patch_size": 8},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4},
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48},
    "llama": {**_ENCODER, "num_key_value_heads": 2},
    "t5": {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4},
    "bart": _SEQ2SEQ,
    "mbart": _SEQ2SEQ,
    "marian": _SEQ2SEQ,
}  # fmt: skip
FAMILIES = tuple(OPTIONS)

# Families with other placements of norms, which only the tests of these build.
_DECODER = {**_ENCODER, "num_key_value_heads": 2}
OTHER_OPTIONS: dict[str, dict] = {
    **dict.fromkeys(("qwen3", "gemma2", "gemma3_text"), {**_DECODER, "head_dim": 8}),
    **dict.fromkeys(("olmo2", "phi", "bitnet"), _DECODER),
    "gpt_neox": _ENCODER,
    "opt": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "ffn_dim": 48,
        "word_embed_proj_dim": 32,
    },
    "swin": {"embed_dim": 16, "depths": [1, 2], "num_heads": [2, 2], "window_size": 2, "patch_size": 2},
}
DATA_OPTIONS = {"vocab_size": 60, "pad_token_id": 1, "decoder_start_token_id": 2, "image_size": 16, "num_channels": 1}

# Counted by hand in the models' structure: embeddings + layers x norms a layer + final norms.
NORMS = {
    "bert": 1 + 2 * 2,
    "roberta": 1 + 2 * 2,
    "electra": 1 + 2 * 2,
    "distilbert": 1 + 2 * 2,
    "albert": 1 + 2,  # one layer, shared by all
    "deberta": 1 + 2 * 2,
    "deberta-v2": 1 + 2 * 2 + 2,  # and the one of the relative positions and of the convolution
    "modernbert": 1 + 2 * 2 - 1 + 1,  # the first layer has no attention norm
    "roberta-prelayernorm": 1 + 2 * 2 + 1,
    "vit": 2 * 2 + 1,
    "gpt2": 2 * 2 + 1,
    "xlnet": 2 * 2,
    "llama": 2 * 2 + 1,
    "t5": 2 * 2 + 1 + 2 * 3 + 1,
    "bart": 1 + 2 * 2 + 1 + 2 * 3,
    "mbart": 1 + 2 * 2 + 1 + 1 + 2 * 3 + 1,
    "marian": 2 * 2 + 2 * 3,
}

# The norm behind the last layer of each stack, read off the models' code; None where there is none.
FINAL = {
    "gpt2": ["ln_f"],
    "vit": ["layernorm"],
    "llama": ["norm"],
    "modernbert": ["final_norm"],
    "roberta-prelayernorm": ["LayerNorm"],
    "t5": ["encoder.final_layer_norm", "decoder.final_layer_norm"],
    "mbart": ["encoder.layer_norm", "decoder.layer_norm"],
}

# Trainable parameters that have no gradient in the original models either: XLNet's second stream and segments wait
# for inputs that only its pretraining gives.
NEVER_USED = {
    "xlnet": {"mask_emb", *(f"layer.{i}.rel_attn.{name}" for i in range(2) for name in ("r_s_bias", "seg_embed"))}
}


@functools.cache
def _built(family: str, auto_class: str) -> nn.Module:
    torch.manual_seed(0)
    backbone = BackboneConfig(family, {**OPTIONS, **OTHER_OPTIONS}[family])
    return build_model(backbone, auto_class=auto_class, data_options=DATA_OPTIONS).model


def tiny(family: str, auto_class: str = "AutoModel") -> nn.Module:
    """A fresh model of the family with the same weights each time; built once, without drawing random numbers later."""
    return copy.deepcopy(_built(family, auto_class))


def batch(family: str) -> dict[str, Tensor]:
    """Two sequences of 6 tokens, or two images."""
    if family == "vit":
        return {"pixel_values": torch.linspace(-1, 1, 2 * 16 * 16).reshape(2, 1, 16, 16)}
    tokens = (torch.arange(12).reshape(2, 6) * 7) % 57 + 3
    inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    if family in ("t5", "bart", "mbart", "marian"):
        inputs["decoder_input_ids"] = tokens.flip(1)
    return inputs


def outputs(model: nn.Module, family: str) -> list[Tensor]:
    """All float tensors that the model gives at top level, last_hidden_state first."""
    return [t for t in model(**batch(family)).values() if isinstance(t, Tensor) and t.is_floating_point()]


def backward(model: nn.Module, family: str) -> None:
    """One forward and backward pass with a loss in which every output counts."""
    sum(output.square().mean() for output in outputs(model, family)).backward()


def values(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the state dict's tensors."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
