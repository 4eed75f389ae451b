"""Options of a Hugging Face config, checked before any work: transformers accepts every unknown one in silence."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib.util
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import InputError
from app.errors.did_you_mean import did_you_mean

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_COUNTS = re.compile("(size|heads?|dim|layers?|model|inner|embeddings)$")  # options that are numbers of something
_ACTIVATIONS = re.compile("(^|_)(act|activation|activation_function)$")
_WRONG_TYPE = re.compile(r"Field '(\w+)' expected (\w+), got \w+ \(value: (.*?)\)")  # of a config's dataclass
_VALUE_ERRORS = (ValueError, TypeError, KeyError, RuntimeError, ArithmeticError, AssertionError, OSError)


def config_class(model_type: str) -> type[PreTrainedConfig]:
    """The config class of a model type of transformers, or of ours (convnet, mlp).

    Raises:
        InputError: for an unknown model type, with the nearest one.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    from app.backbones.custom_models import OWN_TYPES

    if model_type not in CONFIG_MAPPING:
        raise InputError(
            f"unknown model_type {model_type!r}{did_you_mean(model_type, CONFIG_MAPPING.keys())} "
            f"allowed: {', '.join(OWN_TYPES)} and the model types of transformers, such as bert, vit, gpt2, t5, marian"
        )
    return CONFIG_MAPPING[model_type]


def option_names(cls: type[PreTrainedConfig]) -> set[str]:
    """All options that a config class has, under all the names it knows them by."""
    fields = {field.name for field in _fields(cls)}
    settable = {
        name
        for base in cls.__mro__
        for name, value in vars(base).items()
        if isinstance(value, property) and value.fset and not name.startswith("_")
    }
    read = {name for name in _read_by_models(cls.__module__) if not callable(getattr(cls, name, None))}
    return fields | settable | set(cls.attribute_map) | {"attn_implementation"} | read


def check_options(cls: type[PreTrainedConfig], options: Mapping[str, Any]) -> None:
    """Refuse options that the config class does not have, and values that its models would not answer in words.

    Raises:
        InputError: with the nearest names, or a few that the class has.
    """
    known = option_names(cls)
    for option in options:
        if option not in known:
            common = {field.name for base in cls.__mro__[1:] for field in _fields(base)}
            own = [name for name in (*(field.name for field in _fields(cls)), *cls.attribute_map) if name not in common]
            raise InputError(
                f"model_type {cls.model_type!r} has no option {option!r}{did_you_mean(option, known)} "
                f"allowed: {', '.join(own)}"
            )
        _check_value(cls, option, options[option])


def _check_value(cls: type[PreTrainedConfig], option: str, value: Any) -> None:
    """Refuse what transformers takes, or answers with a KeyError or a division by zero."""
    from transformers.activations import ACT2FN

    default = next((field.default for field in _fields(cls) if field.name == option), None)
    can_be_none = isinstance(default, int) and default < 1  # DeBERTa's type_vocab_size is 0 by default
    if _COUNTS.search(option) and isinstance(value, int) and not isinstance(value, bool) and not can_be_none:
        least = 0 if "layer" in option else 1
        if value < least:
            raise InputError(f"model.backbone.options.{option} is {value}; allowed: whole numbers from {least}")
    if _ACTIVATIONS.search(option) and isinstance(value, str) and value not in ACT2FN:
        raise InputError(
            f"model.backbone.options.{option} is {value!r}{did_you_mean(value, ACT2FN)} allowed: {', '.join(ACT2FN)}"
        )


def with_data_options(
    cls: type[PreTrainedConfig], options: Mapping[str, Any], data_options: Mapping[str, Any], source: str
) -> dict[str, Any]:
    """Options and, under the names that the config class has, what the data dictates.

    Raises:
        InputError: if an option says otherwise than the data.
    """
    known = option_names(cls)
    merged = dict(options)
    for name, value in data_options.items():
        if name not in known:
            continue
        for given in {name, cls.attribute_map.get(name, name)} & options.keys():
            if _listed(options[given]) != _listed(value):
                raise InputError(
                    f"{source}: option {given} is {options[given]!r}, but the data makes it {value!r}; leave it out"
                )
        merged[name] = value
    return merged


def without_foreign_tokens(cls: type[PreTrainedConfig], options: Mapping[str, Any]) -> dict[str, Any]:
    """Options in which each special token that nobody gave, and that lies outside the vocabulary, is None.

    The defaults of a config are the ids of its best-known tokenizer, gpt2's end of text being 50256.
    """
    defaults = {field.name: field.default for field in _fields(cls)}
    size = options.get("vocab_size", defaults.get("vocab_size"))
    foreign = {
        name: None
        for name, value in defaults.items()
        if name.endswith("_token_id")
        and name not in options
        and isinstance(value, int)
        and isinstance(size, int)
        and value >= size
    }
    return {**foreign, **options}


def apply_options(config: PreTrainedConfig, options: Mapping[str, Any]) -> None:
    """Set options on a config that was read from a file."""
    for name, value in options.items():
        setattr(config, "_attn_implementation" if name == "attn_implementation" else name, value)


@contextmanager
def refused_by_transformers(source: str, options: Mapping[str, Any]) -> Iterator[None]:
    """Answer what transformers, or torch under it, raises about values with one line that shows them.

    Raises:
        InputError: in place of any exception that a wrong value is known to cause.
    """
    from huggingface_hub.errors import StrictDataclassError

    try:
        yield
    except InputError:
        raise
    except (*_VALUE_ERRORS, StrictDataclassError) as error:
        said = " ".join(str(error).split())[:300]
        given = ", ".join(f"{name}={value!r}" for name, value in options.items()) or "none"
        if wrong := _WRONG_TYPE.search(said):
            kind = {"int": "a whole number", "float": "a number such as 0.1"}.get(wrong[2], wrong[2])
            name = f"model.backbone.options.{wrong[1]}" if wrong[1] in options else f"{source}: {wrong[1]}"
            raise InputError(f"{name} is {wrong[3]}; allowed: {kind}") from error
        said = re.sub(
            r"^Class validation error for validator '\w+': ",
            "",
            f"{type(error).__name__}: {said}".replace("StrictDataclassClassValidationError: ", ""),
        )
        raise InputError(f"{source} is refused ({said}); options: {given}; change one") from error


@functools.cache
def _read_by_models(config_module: str) -> frozenset[str]:
    """Names that the models beside a module of config classes read from their config, declared there or not.

    DeBERTa-v2's position_buckets and norm_rel_ebd and T5's decoder_start_token_id are declared nowhere.
    """
    module = importlib.util.find_spec(config_module.replace(".configuration_", ".modeling_"))
    if module is None or module.origin is None:  # a few families borrow another one's models
        return frozenset()
    read = set()
    for node in ast.walk(ast.parse(Path(module.origin).read_text(encoding="utf-8"))):
        match node:
            case (
                ast.Attribute(ast.Name("config") | ast.Attribute(attr="config"), attr=name)  # self.config.name
                | ast.Call(
                    ast.Name("getattr"),
                    [ast.Name("config") | ast.Attribute(attr="config"), ast.Constant(str(name)), *_],
                )
            ):
                read.add(name)
    return frozenset(name for name in read if not name.startswith("_"))


def _listed(value: Any) -> Any:
    """The value as a YAML would hold it."""
    return list(value) if isinstance(value, tuple) else value


def _fields(cls: type) -> tuple[dataclasses.Field, ...]:
    return dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
