"""Options of a Hugging Face config, checked before any work: transformers silently accepts unknown ones."""

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

_COUNTS = re.compile("(size|heads?|dim|layers?|model|inner|embeddings)$")  # options that are counts
_ACTIVATIONS = re.compile("(^|_)(act|activation|activation_function)$")
_WRONG_TYPE = re.compile(r"Field '(\w+)' expected (\w+), got \w+ \(value: (.*?)\)")  # of a config's dataclass
_VALUE_ERRORS = (
    ValueError, TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError, AssertionError, OSError,
)  # fmt: skip


def config_class(model_type: str) -> type[PreTrainedConfig]:
    """Return the config class of a model type of transformers, or of ours (convnet, mlp).

    Raises:
        InputError: if the model type is unknown; the message has the nearest one.
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
    """Return all options of a config class, under all their names."""
    fields = {field.name for field in _fields(cls)}
    settable = {
        name
        for base in cls.__mro__
        for name, value in vars(base).items()
        if isinstance(value, property) and value.fset and not name.startswith("_")
    }
    read = {
        name
        for name in _read_by_models(cls.__module__)
        if not callable(held := getattr(cls, name, None)) and not isinstance(held, property)  # falcon's head_dim
    }
    return fields | settable | set(cls.attribute_map) | {"attn_implementation"} | read


def check_options(cls: type[PreTrainedConfig], options: Mapping[str, Any]) -> None:
    """Refuse options that the config class does not have, and values that its models refuse without a clear message.

    Raises:
        InputError: with the nearest name, and the options of the class.
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
    """Refuse values that transformers accepts, or answers with a KeyError or a division by zero."""
    from transformers.activations import ACT2FN

    default = next((field.default for field in _fields(cls) if field.name == option), None)
    can_be_none = isinstance(default, int) and default < 1  # DeBERTa's type_vocab_size is 0 by default
    if _COUNTS.search(option) and isinstance(value, int) and not isinstance(value, bool) and not can_be_none:
        least = 0 if "layer" in option else 1
        if value < least:
            raise InputError(f"model.backbone.options.{option} is {value}; must be >= {least}")
    if _ACTIVATIONS.search(option) and isinstance(value, str) and value not in ACT2FN:
        raise InputError(
            f"model.backbone.options.{option} is {value!r}{did_you_mean(value, ACT2FN)} allowed: {', '.join(ACT2FN)}"
        )


def with_data_options(
    cls: type[PreTrainedConfig], options: Mapping[str, Any], data_options: Mapping[str, Any], source: str
) -> dict[str, Any]:
    """Merge options with what the data dictates, as far as the config class has such options.

    Raises:
        InputError: if an option contradicts the data.
    """
    known = option_names(cls)
    merged = dict(options)
    for name, value in data_options.items():
        if name not in known:
            continue
        for given in {name, cls.attribute_map.get(name, name)} & options.keys():
            if _listed(options[given]) != _listed(value):
                raise InputError(
                    f"{source}: option {given} is {options[given]!r}, but the data dictates {value!r}; omit the option"
                )
        merged[name] = value
    return merged


def without_foreign_tokens(cls: type[PreTrainedConfig], options: Mapping[str, Any]) -> dict[str, Any]:
    """Set each special token outside the vocabulary to None, unless the options set it.

    The defaults of a config are the ids of its best-known tokenizer; gpt2's end of text is 50256.
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
    """Set options of a config that was read from a file."""
    for name, value in options.items():
        setattr(config, "_attn_implementation" if name == "attn_implementation" else name, value)


@contextmanager
def refused_by_transformers(source: str, options: Mapping[str, Any]) -> Iterator[None]:
    """Turn what transformers, or torch within it, raises about values into one line that shows the values.

    Raises:
        InputError: instead of any exception that a wrong value is known to cause.
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
            raise InputError(f"{name} is {wrong[3]}; must be {kind}") from error
        said = re.sub(
            r"^Class validation error for validator '\w+': ",
            "",
            f"{type(error).__name__}: {said}".replace("StrictDataclassClassValidationError: ", ""),
        )
        raise InputError(f"{source} is refused ({said}); options: {given}; change one of them") from error


@functools.cache
def _read_by_models(config_module: str) -> frozenset[str]:
    """Return the names that the models of a module of config classes read from their config, declared or not.

    DeBERTa-v2's position_buckets and norm_rel_ebd and T5's decoder_start_token_id are not declared.
    """
    module = importlib.util.find_spec(config_module.replace(".configuration_", ".modeling_"))
    if module is None or module.origin is None:  # a few families use the models of another
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
    """Return the value as it is in a YAML."""
    return list(value) if isinstance(value, tuple) else value


def _fields(cls: type) -> tuple[dataclasses.Field, ...]:
    return dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
