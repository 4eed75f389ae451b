"""From the YAML's `backbone` to a model with its norm: weights, placement, norms, so that variants are paired."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from app.backbones.embedding_scale import scale_inits
from app.backbones.inject import SiteRecord, apply_norms
from app.backbones.options import (
    apply_options,
    check_options,
    config_class,
    refused_by_transformers,
    with_data_options,
    without_foreign_tokens,
)
from app.backbones.placement import PlacementSpec, place_norms, placed_parts, placement_of
from app.backbones.sites import LeftNorm, left_norms, name_paths, norm_sites
from app.backbones.storage import (
    injected_sites,
    load_model,
    read_config,
    restore_norms,
    saved_with_norms,
    without_progress_bars,
)
from app.errors import InputError
from app.norms import NormSpec
from app.progress import phase

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BackboneConfig:
    """Which model to build: a model_type with fresh weights, or a pretrained one; exactly one of the two.

    Args:
        model_type: model with fresh weights: a model type of transformers, such as bert, vit, gpt2 or t5, or one of
            ours (convnet, mlp).
        options: of the model's config, such as hidden_size and num_hidden_layers; omitted ones take that config's
            default. What the data dictates (vocab_size, image_size, ...) is filled in.
        pretrained: a folder with a saved model, or a name on the Hugging Face hub.
        name: what the run folder and the signature call the model; by default the last part of `pretrained`, or the
            model type with its layers and their width, such as bert-4x128.
    """

    model_type: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    pretrained: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if (self.model_type is None) == (self.pretrained is None):
            came = "neither" if self.model_type is None else f"both ({self.model_type!r} and {self.pretrained!r})"
            raise InputError(f"backbone needs exactly one of model_type and pretrained, got {came}; set one of them")

    def label(self, config: PreTrainedConfig) -> str:
        """Return the name of the model that was built with this config of transformers."""
        if self.name is not None:
            return self.name
        if self.pretrained is not None:
            return Path(self.pretrained).absolute().name
        layers, width = (getattr(config, size, None) for size in ("num_hidden_layers", "hidden_size"))
        is_sized = isinstance(layers, int) and isinstance(width, int)  # some families list a size for each stage
        return f"{config.model_type}-{layers}x{width}" if is_sized else config.model_type


class BuiltModel(NamedTuple):
    """The result of `build_model`.

    Attributes:
        model: on the CPU, in train mode (Lightning leaves the mode as it finds it).
        sites: one record for each norm, replaced or kept; none where no norm was asked for.
        left: what is called a norm, or looks like one, and cannot be replaced.
    """

    model: PreTrainedModel
    sites: list[SiteRecord]
    left: list[LeftNorm]

    @property
    def norms_total(self) -> int:
        """The number of norms in the model, those included that cannot be replaced."""
        return len(norm_sites(self.model)) + len(self.left)


def build_model(
    backbone: BackboneConfig,
    norm: NormSpec | None = None,
    *,
    auto_class: str = "AutoModel",
    data_options: Mapping[str, Any] | None = None,
    placement: PlacementSpec | None = None,
) -> BuiltModel:
    """Build a model, put its norms where the placement says, and replace them.

    Fresh weights are drawn from torch's random state before the norms are placed and replaced, which draws nothing:
    with the same seed, models of all norms and placements are equal outside their norms, except that deepnorm scales
    some weights. Weights are float32; mixed precision is up to the trainer.

    Args:
        backbone: what to build.
        norm: None keeps the model's own norms; a pretrained model that was saved with other norms keeps those.
        auto_class: Auto class of transformers that adds the head: AutoModel (none), AutoModelForCausalLM,
            AutoModelForSeq2SeqLM, ...
        data_options: what the data dictates, such as vocab_size, pad_token_id, image_size, num_channels or
            num_labels; those that the model's config does not have are skipped.
        placement: None and native keep the norms where the model has them, which for a pretrained model that was saved
            with a placement is that one.

    Raises:
        InputError: for an unknown model type or option, options that the model refuses or that contradict the data, a
            model type without such a head, a pretrained model that is missing or does not fit, a norm that cannot be
            injected, or a placement that the model cannot have or that is not the pretrained model's.
    """
    data_options = data_options or {}
    if backbone.model_type is not None:
        model = _fresh(backbone.model_type, backbone.options, data_options, auto_class)
    else:
        assert backbone.pretrained is not None
        model = _pretrained(backbone.pretrained, backbone.options, data_options, auto_class)
    if placement is not None and not placement.is_native and placement != placement_of(model):
        if not placement_of(model).is_native:
            raise InputError(
                f"pretrained {backbone.pretrained!r} has placement {placement_of(model)}, and --placement is "
                f"{placement}; omit --placement, which keeps that of the model"
            )
        place_norms(model, placement, initialize=backbone.model_type is not None)
    return BuiltModel(model.train(), apply_norms(model, norm) if norm is not None else [], left_norms(model))


def _fresh(
    model_type: str, options: Mapping[str, Any], data_options: Mapping[str, Any], auto_class: str
) -> PreTrainedModel:
    cls = config_class(model_type)
    check_options(cls, options)
    source = f"model_type {model_type!r}"
    complete = without_foreign_tokens(cls, with_data_options(cls, options, data_options, source))
    with refused_by_transformers(source, complete):
        config = cls(**complete)
        return _auto_class(auto_class, config).from_config(config)


@phase("loading the pretrained model")
def _pretrained(
    name: str, options: Mapping[str, Any], data_options: Mapping[str, Any], auto_class: str
) -> PreTrainedModel:
    import torch
    from transformers import AutoConfig

    import app.backbones.custom_models  # noqa: F401  # registers their model types

    folder = Path(name)
    if folder.is_dir() and saved_with_norms(folder, read_config(folder)):
        return _pretrained_with_norms(folder, options, data_options, auto_class)
    source = f"pretrained {name!r}"
    with refused_by_transformers(f"{source}: no such folder, or no model in it; it", {}):
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    with refused_by_transformers(source, options):
        _change(config, options, data_options, source)
        auto = _auto_class(auto_class, config)
        with without_progress_bars() if folder.is_dir() else nullcontext():
            model, report = auto.from_pretrained(
                name,
                config=config,
                trust_remote_code=False,
                dtype=torch.float32,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # transformers' own error does not say which and how
                output_loading_info=True,
            )
    for key, theirs, ours in report["mismatched_keys"]:
        raise InputError(_misfit(source, key, theirs, ours))
    return model


def _pretrained_with_norms(
    folder: Path, options: Mapping[str, Any], data_options: Mapping[str, Any], auto_class: str
) -> PreTrainedModel:
    """Load what `save_model` wrote with its norms: the whole model, or its backbone under a fresh head."""
    source = f"pretrained {str(folder)!r}"
    saved = load_model(folder)
    config, placement = copy.deepcopy(saved.config), placement_of(saved)
    vars(config).pop("placement", None)  # place_norms writes it
    config.dtype = "float32"
    with refused_by_transformers(source, options):
        _change(config, options, data_options, source)
        model: PreTrainedModel = _auto_class(auto_class, config).from_config(config)
    old, new = (saved, model) if type(saved) is type(model) else (saved.base_model, model.base_model)
    if type(old) is not type(new):
        raise InputError(f"{source} is a {type(old).__name__}, and {auto_class} needs a {type(new).__name__}")
    # under other options, such as dropout, a placement may not be exact
    place_norms(new, placement, initialize=False, found=None if options else placed_parts(old))
    restore_norms(new, injected_sites(old), scale_inits(old), source)
    slots = new.state_dict(keep_vars=True)
    for key, value in old.state_dict().items():
        if key in slots:  # one of a bare model and the backbone of a head may lack a pooler
            if slots[key].shape != value.shape:
                raise InputError(_misfit(source, key, value.shape, slots[key].shape))
            slots[key].data.copy_(value)
    fresh = slots.keys() - old.state_dict().keys()
    if fresh:
        log.warning("%s has no weights for %s: initialized at random", source, name_paths(sorted(fresh)))
    return model


def _change(config: PreTrainedConfig, options: Mapping[str, Any], data_options: Mapping[str, Any], source: str) -> None:
    check_options(type(config), options)
    apply_options(config, with_data_options(type(config), options, data_options, source))


def _misfit(source: str, key: str, theirs: Sequence[int], ours: Sequence[int]) -> str:
    return (
        f"{source} does not fit: {key} is {tuple(theirs)} there and {tuple(ours)} in the model asked for; "
        "use the tokenizer and sizes it was trained with, or omit the option"
    )


def _auto_class(name: str, config: PreTrainedConfig) -> Any:
    import transformers

    auto: Any = getattr(transformers, name, None)
    if not name.startswith("Auto") or not hasattr(auto, "_model_mapping"):
        raise InputError(f"auto_class {name!r} is not an Auto class of transformers; use AutoModel or AutoModelFor...")
    if type(config) not in auto._model_mapping:
        raise InputError(
            f"model_type {config.model_type!r} has no {name} in transformers; choose a model type that has this head"
        )
    return auto
