"""From what a YAML says to a model with its norm: weights first, norms after, so that variants are paired."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from app.backbones.inject import SiteRecord, inject_norms
from app.backbones.options import check_options, config_class, with_facts, without_foreign_tokens
from app.backbones.sites import name_paths, norm_sites
from app.backbones.storage import load_model, read_config, saved_with_norms, without_progress_bars
from app.errors import InputError
from app.norms import NormSpec

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_REFUSALS = (ValueError, TypeError, KeyError, RuntimeError, ZeroDivisionError, AssertionError)


@dataclass(frozen=True)
class BackboneConfig:
    """Which model to build: a model_type with fresh weights, or a pretrained one; exactly one of the two.

    Args:
        model_type: a model type of transformers, such as bert, vit, gpt2 or t5, or convnet, with fresh weights.
        options: of the model's config, such as hidden_size and num_hidden_layers; what is left out takes that
            config's default. What the data dictates (vocab_size, image_size, ...) is filled in.
        pretrained: a folder with a saved model, or a name on the Hugging Face hub.
    """

    model_type: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    pretrained: str | None = None

    def __post_init__(self) -> None:
        if (self.model_type is None) == (self.pretrained is None):
            came = "neither" if self.model_type is None else f"both ({self.model_type!r} and {self.pretrained!r})"
            raise InputError(f"backbone needs exactly one of model_type and pretrained, got {came}; set one of them")


class BuiltModel(NamedTuple):
    """What `build_model` gives.

    Attributes:
        model: on the CPU, in train mode (Lightning leaves the mode as it finds it).
        sites: one record for each norm replaced.
        norms_total: how many norms the model has.
    """

    model: PreTrainedModel
    sites: list[SiteRecord]
    norms_total: int


def build_model(
    backbone: BackboneConfig,
    norm: NormSpec | None = None,
    *,
    auto_class: str = "AutoModel",
    facts: Mapping[str, Any] | None = None,
) -> BuiltModel:
    """Build a model and put its norm in.

    Fresh weights come from torch's random state before the norm is put in, which draws nothing: for one seed, models
    of any norm are equal outside their norms. Weights are float32; mixed precision is the trainer's.

    Args:
        backbone: what to build.
        norm: None leaves the model's own norms. A pretrained model that was saved with norms keeps them then.
        auto_class: Auto class of transformers that adds the head: AutoModel (none), AutoModelForCausalLM,
            AutoModelForSeq2SeqLM, ...
        facts: what the data dictates, such as vocab_size, pad_token_id, image_size, num_channels or num_labels; those
            that the model's config does not have are passed over.

    Raises:
        InputError: for an unknown model type or option, options that the model refuses or that contradict the data, a
            model type without such a head, a pretrained model that is not there or does not fit, or a norm that
            cannot be put in.
    """
    facts = facts or {}
    if backbone.model_type is not None:
        model = _fresh(backbone.model_type, backbone.options, facts, auto_class)
    else:
        assert backbone.pretrained is not None
        model = _pretrained(backbone.pretrained, backbone.options, facts, auto_class)
    total = len(norm_sites(model))
    return BuiltModel(model.train(), inject_norms(model, norm) if norm is not None else [], total)


def _fresh(model_type: str, options: Mapping[str, Any], facts: Mapping[str, Any], auto_class: str) -> PreTrainedModel:
    cls = config_class(model_type)
    check_options(cls, options)
    source = f"model_type {model_type!r}"
    complete = without_foreign_tokens(cls, with_facts(cls, options, facts, source))
    with _Refusal(source, complete):
        config = cls(**complete)
    auto = _auto_class(auto_class, config)
    with _Refusal(source, complete):
        return auto.from_config(config)


def _pretrained(name: str, options: Mapping[str, Any], facts: Mapping[str, Any], auto_class: str) -> PreTrainedModel:
    import torch
    from transformers import AutoConfig

    import app.backbones.convnet  # noqa: F401  # makes its model type known

    folder = Path(name)
    if folder.is_dir() and saved_with_norms(folder, read_config(folder)):
        return _pretrained_with_norms(folder, options, facts, auto_class)
    source = f"pretrained {name!r}"
    try:
        cls = type(AutoConfig.from_pretrained(name))
        check_options(cls, options)
        config = AutoConfig.from_pretrained(name, **with_facts(cls, options, facts, source))
    except InputError:
        raise
    except (OSError, *_REFUSALS) as error:
        raise InputError(f"{source}: no such folder, or no model in it ({_first_line(error)})") from error
    auto = _auto_class(auto_class, config)
    with _Refusal(source, options), without_progress_bars() if folder.is_dir() else nullcontext():
        model, report = auto.from_pretrained(
            name,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # transformers' own error does not say which and how
            output_loading_info=True,
        )
    for key, theirs, ours in report["mismatched_keys"]:
        raise InputError(
            f"{source} does not fit: {key} is {tuple(theirs)} there and {tuple(ours)} in the model asked for; "
            "take the tokenizer and sizes it was trained with, or leave the option out"
        )
    return model


def _pretrained_with_norms(
    folder: Path, options: Mapping[str, Any], facts: Mapping[str, Any], auto_class: str
) -> PreTrainedModel:
    """A model that `save_model` wrote with its norms, or the backbone inside it."""
    model = load_model(folder).float()
    check_options(type(model.config), options)
    wanted = with_facts(type(model.config), options, facts, f"pretrained {str(folder)!r}")
    changed = [name for name, value in wanted.items() if getattr(model.config, name, None) != value]
    if changed:
        raise InputError(
            f"pretrained {str(folder)!r} was saved with norms and other {name_paths(changed)} than asked for; "
            "it can only be loaded as it is"
        )
    auto = _auto_class(auto_class, model.config)
    cls = auto._model_mapping[type(model.config)]
    for candidate in (model, model.base_model):
        if type(candidate) is cls:
            return candidate
    raise InputError(
        f"pretrained {str(folder)!r} holds a {type(model).__name__}, and this task needs a {cls.__name__}; "
        "only a backbone can be taken out of a saved model with norms"
    )


def _auto_class(name: str, config: PreTrainedConfig) -> Any:
    import transformers

    auto: Any = getattr(transformers, name, None)
    if not name.startswith("Auto") or not hasattr(auto, "_model_mapping"):
        raise InputError(f"auto_class {name!r} is no Auto class of transformers; allowed: AutoModel, AutoModelFor...")
    if type(config) not in auto._model_mapping:
        raise InputError(
            f"model_type {config.model_type!r} has no {name} in transformers; choose a model type that has this head"
        )
    return auto


class _Refusal:
    """Context in which an exception of transformers about values becomes an InputError that shows them."""

    def __init__(self, source: str, options: Mapping[str, Any]) -> None:
        self.source = source
        self.options = options

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        from huggingface_hub.errors import StrictDataclassError

        if isinstance(error, (*_REFUSALS, OSError, StrictDataclassError)):
            given = ", ".join(f"{name}={value!r}" for name, value in self.options.items()) or "none"
            raise InputError(f"{self.source} refuses its options ({_first_line(error)}); options: {given}") from error


def _first_line(error: BaseException) -> str:
    """What the exception says, on one line; a KeyError alone would be a bare word."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"
