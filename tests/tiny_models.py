"""A tiny random model of any model type of transformers, from the default config of the type, made small."""

from __future__ import annotations

import importlib
import inspect
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import MODEL_MAPPING, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

_VOCABULARY = 256
_MOST_PARAMETERS = 80e6

# Settings by their names, in this order: the first rule that matches is followed.
_AT_MOST = {
    r"(^|_)vocab_size$|vocab_size_per_layer_input|entity_vocab_size$|^codebook_size$|^num_embeddings$": _VOCABULARY,
    r"^(num_experts|n_routed_experts|num_local_experts|moe_num_experts)$": 4,
    r"^(num_experts_per_tok(en)?|moe_k|moe_topk|moe_top_k|num_selected_experts)$": 2,
    r"^(n_groups?|topk_groups?|num_expert_groups?)$": 1,
    r"^index_topk$": 16,
    r"^num_queries$": 10,
    r"^(mamba_)?chunk_size$": 16,
    r"^(max_position_embeddings|n_positions|n_ctx|max_target_positions)$": 512,
    r"^(max_source_positions|max_length)$": 64,
}
_LAYERS = re.compile(r"^(num_(\w+_)?layers|\w+_num_(hidden_)?layers|n_layers?|(\w+_)?layers|(\w+_)?depth)$")
_NO_LAYERS = re.compile(r"dense|feat_extract|conv|kv_shared|lstm|postnet|nextn|window|prenet|residual")
_WIDTH = re.compile(r"size|dim|width|channels|rank|ffn|units|embd|d_model|d_ff|d_kv|inner|head|scalar|groups|d_state")
_NO_WIDTH = re.compile(
    r"vocab|patch|image|img|window|kernel|batch|chunk|crop|num_|n_head|n_group|max_|block_size|codebook_size|context"
    r"|type_|stride|feature_size|mel|input_size|frame|grid|pool_size|token|bins|coordinate|shape_size|merge|sampl"
    r"|downsample_rate|prun|resolution|roi|tubelet|(?<!upsample)_groups$|frequency|hop|spatial|length|in_channels$|ratio|speaker"
    r"|divisor|pos|background|fft|heads$|sequence|local_attention|cache|embed_size$|pixel|input_channels|xvector|logit"
    r"|feat_sizes|feature_sizes|spec_"
)
_WIDTHS = re.compile(r"hidden_sizes|channels|dims?$|sizes$|widths")
_NO_WIDTHS = re.compile(r"^out_channels$|in_channels|kernel|patch|window|feature_sizes|image")
_LAYER_KINDS = ("layer_types", "layers_block_type", "mlp_layer_types", "block_types")

_PARTIAL_ROTARY = {"rope_parameters": {"partial_rotary_factor": 0.5}}
_EXCEPTIONS: dict[str, dict[str, Any]] = {  # defaults that build no model, or one without a kind of layer
    **dict.fromkeys(("autoformer", "informer", "time_series_transformer"), {"prediction_length": 4}),
    **dict.fromkeys(("chameleon", "emu3"), {"vocabulary_map": {"<image>": 4}}),
    **dict.fromkeys(
        ("hunyuan_v1_dense", "hunyuan_v1_moe", "hunyuan_vl_text", "ministral", "nemotron"), {"head_dim": 16}
    ),
    **dict.fromkeys(("glm4v_text", "glm4v_moe_text", "glm_image_text", "glm_ocr_text"), _PARTIAL_ROTARY),
    **dict.fromkeys(
        ("glm4v", "glm4v_moe", "glm_image", "glm_ocr", "glm46v", "glmga"), {"text_config": _PARTIAL_ROTARY}
    ),
    "aya_vision": {"vision_config": {"num_attention_heads": 12}},
    "hunyuan_vl": {"text_config": {"head_dim": 16}},
    "bamba": {"attn_layer_indices": [1]},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "esm": {"vocab_size": 33, "pad_token_id": 1},
    "gemma3n_text": {"num_kv_shared_layers": 0},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    **dict.fromkeys(("led", "longformer"), {"attention_window": 8}),
    "seggpt": {"num_hidden_layers": 4, "merge_index": 0, "intermediate_hidden_state_indices": [1, 3]},
}  # fmt: skip


def tiny_model(model_type: str, accept: Callable[[PreTrainedModel], bool]) -> PreTrainedModel:
    """Build a model of the type with random weights, as small as `accept` allows.

    Widths are divided by 16, or by less if the model is then refused; there are as few layers as show all their kinds.

    Args:
        model_type: a key of CONFIG_MAPPING.
        accept: is called with the model; raises if it does not work, and returns False if only a part of it does, which
            is the model then if no size does better.

    Raises:
        Exception: what the model's class raised, or `accept`, if no size is accepted.
    """
    config = CONFIG_MAPPING[model_type]()
    first_error: Exception | None = None
    in_part: PreTrainedModel | None = None
    for divisor in (16, 8, 4, 1):
        try:
            small = type(config)(**_merged(_shrunk(config, divisor), _EXCEPTIONS.get(model_type, {})))
            cls = model_class(small)
            with torch.device("meta"):
                parameters = sum(p.numel() for p in cls(small).parameters())
            if parameters > _MOST_PARAMETERS:
                raise MemoryError(f"{parameters / 1e6:.0f} million parameters")
            torch.manual_seed(0)
            model = cls(small)
            if accept(model):
                return model
            in_part = in_part or model
        except Exception as error:  # of any class, because each model has its own
            first_error = first_error or error
            if isinstance(error, (ImportError, MemoryError, LookupError)):
                break
    if in_part is None:
        assert first_error is not None
        raise first_error
    return in_part


def model_class(config: PreTrainedConfig) -> type[PreTrainedModel]:
    """Return the class of the Auto mapping, or for a sub-model the one of its module that has this config.

    Raises:
        LookupError: if there is none.
    """
    mapped: Any = MODEL_MAPPING.get(type(config), None)  # type: ignore[arg-type]
    if isinstance(mapped, tuple):
        mapped = mapped[0]
    if mapped is not None and mapped.config_class is type(config):
        return mapped
    try:
        module = importlib.import_module(type(config).__module__.replace("configuration_", "modeling_"))
    except ModuleNotFoundError as error:
        if mapped is not None:
            return mapped
        raise LookupError(f"no module of models for {type(config).__name__}") from error
    found = [
        cls
        for cls in vars(module).values()
        if isinstance(cls, type)
        and issubclass(cls, PreTrainedModel)
        and cls.__module__ == module.__name__
        and cls.config_class is type(config)
        and not cls.__name__.endswith("PreTrainedModel")
    ]
    if not found and mapped is None:
        raise LookupError(f"no model class for {type(config).__name__}")
    return min(found, key=lambda cls: (not cls.__name__.endswith("Model"), len(cls.__name__))) if found else mapped


def _shrunk(config: PreTrainedConfig, divisor: int) -> dict[str, Any]:
    """Return the settings to change."""
    settings = vars(config)
    layers = _fewest_layers(settings)
    all_layers = getattr(config, "num_hidden_layers", None)
    changed: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, PreTrainedConfig):
            inner = value.to_dict()
            if "_out_indices" in vars(value):
                inner.pop("out_features", None)
                inner.pop("stage_names", None)
            if "per_layer_config" in inner:
                inner["per_layer_config"] = dict(
                    _shrunk_entries(inner["per_layer_config"], divisor, _fewest_layers(vars(value)))
                )
            changed[name] = {**inner, **_shrunk(value, divisor), "model_type": value.model_type}
        elif isinstance(value, dict):
            entries = _default_sections(config) | value if "rope_type" in value else value
            changed[name] = dict(_shrunk_entries(entries, divisor, layers))
        elif isinstance(value, (list, tuple)):
            if (new := _shrunk_list(name, value, divisor, layers, all_layers, "depths" in settings)) is not None:
                changed[name.removeprefix("_")] = (
                    tuple(new) if isinstance(value, tuple) and isinstance(new, list) else new
                )
        elif isinstance(value, int) and not isinstance(value, bool):
            changed[name] = _shrunk_number(name, value, divisor, layers)
    changed |= _fewer_heads(settings, changed)
    image, patch = settings.get("image_size"), settings.get("patch_size")
    if isinstance(image, int) and isinstance(patch, int) and not {"depths", "window_size"} & settings.keys():
        changed["image_size"] = min(image, 8 * patch) if image % patch == 0 else image
    return {name: value for name, value in changed.items() if value != settings.get(name)}


def _fewer_heads(settings: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    """Return fewer heads where a head would have a width that rotary positions cannot halve twice."""
    if settings.get("head_dim") is not None:
        return {}
    width = next((changed[name] for name in ("embed_dim", "hidden_size", "d_model") if name in changed), None)
    name = next((name for name in ("num_attention_heads", "num_heads") if name in changed), None)
    if not (isinstance(width, int) and name and isinstance(changed[name], int)) or width % (4 * changed[name]) == 0:
        return {}
    fitting = [n for n in range(1, changed[name] + 1) if width % (4 * n) == 0]
    if not fitting:
        return {}
    keys = changed.get("num_key_value_heads")
    return {name: fitting[-1]} | ({"num_key_value_heads": fitting[-1]} if keys == changed[name] else {})


def _merged(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with the changes, also within configs of sub-models."""
    inner = {k: _merged(settings[k], v) for k, v in changes.items() if isinstance(v, dict) and k in settings}
    return {**settings, **changes, **inner}


def _fewest_layers(settings: dict[str, Any]) -> int:
    """Return how many layers show all kinds of them; at least two, at most eight."""
    fewest = 2
    for name in _LAYER_KINDS:
        kinds = settings.get(name)
        if isinstance(kinds, (list, tuple)) and kinds:
            last_new = max(list(kinds).index(kind) for kind in set(kinds))
            fewest = max(fewest, min(last_new + 1, 8))
    taps = settings.get("_out_indices")
    return max(fewest, len(taps)) if isinstance(taps, (list, tuple)) and "depths" not in settings else fewest


def _shrunk_number(name: str, value: int, divisor: int, layers: int) -> int:
    for pattern, most in _AT_MOST.items():
        if re.search(pattern, name):
            return min(value, most)
    if re.search(r"_token(_id|_index)?$", name):
        return value if value < _VOCABULARY else _VOCABULARY - 2 - sum(map(ord, name)) % 40
    if _LAYERS.match(name) and not _NO_LAYERS.search(name):
        return min(value, layers)
    if name in ("insert_layer_id", "num_kv_shared_layers", "first_k_dense_replace"):
        return min(value, layers - 1)
    if name == "image_size" and value >= 512 and value % 32 == 0:
        return 256
    is_width = _WIDTH.search(name) and not _NO_WIDTH.search(name) and value >= 32 and value % divisor == 0
    return value // divisor if is_width else value


def _shrunk_list(
    name: str, value: Any, divisor: int, layers: int, all_layers: Any, in_stages: bool
) -> list[Any] | int | None:
    whole = all(isinstance(x, int) for x in value)
    if name.endswith("_token_id"):
        return _VOCABULARY - 1
    if name == "_out_indices":
        return None if in_stages or all_layers is None else list(range(layers - len(value) + 1, layers + 1))
    if name in ("_out_features", "stage_names") or not value:
        return None
    if whole and re.search(r"^depths$|^num_blocks$|blocks_per_stage|stage_numb_of_layers", name):
        return [1] * len(value)
    if len(value) == all_layers and all_layers > max(layers, 4) and not in_stages:
        return list(value[:layers])
    if whole and re.search(r"indexes|indices|block_ind", name):
        return sorted({min(x, layers - 1) for x in value})
    if whole and _WIDTHS.search(name) and not _NO_WIDTHS.search(name) and math.gcd(*value) % divisor == 0:
        return [x // divisor for x in value]
    return None


def _shrunk_entries(value: dict[Any, Any], divisor: int, layers: int) -> Iterator[tuple[Any, Any]]:
    for key, entry in value.items():
        if isinstance(entry, dict):
            if str(key).isdigit() and int(key) >= layers:  # settings of one layer
                continue
            entry = dict(_shrunk_entries(entry, divisor, layers))
        elif key == "head_dim":
            entry = entry // divisor
        elif key == "mrope_section":
            others = [x // divisor for x in entry[:-1]]
            entry = [*others, sum(entry) // divisor - sum(others)]
        yield key, entry


def _default_sections(config: PreTrainedConfig) -> dict[str, list[int]]:
    """Return the sections of rotary positions, which are widths, where only the model's code has their default."""
    code = Path(inspect.getfile(type(config)).replace("configuration_", "modeling_"))
    found = re.search(r'"mrope_section", \[(\d+), (\d+), (\d+)\]', code.read_text()) if code.exists() else None
    return {"mrope_section": [int(x) for x in found.groups()]} if found else {}
