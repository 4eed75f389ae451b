"""The registry from names to norm classes, with validation and "did you mean"."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from app.norms.base import AUTO, Auto, Norm, Shape, option_signature
from app.norms.context import NormContext

_REGISTRY: dict[str, type[Norm]] = {}
_KINDS: dict[Any, type] = {key: kind for kind in (float, int, bool, str) for key in (kind, kind.__name__)}
_AUTO_KINDS: dict[Any, type] = {key: kind for kind in (float, int) for key in (kind | Auto, f"{kind.__name__} | Auto")}
_KINDS |= _AUTO_KINDS
_RESERVED = ("native", "rules")  # words of a config in the place of a norm's name
NormClass = TypeVar("NormClass", bound=type[Norm])


class NormError(ValueError):
    """An unknown norm, an option that it does not have, or a value that it cannot take; the message is for the user."""


def register_norm(name: str) -> Callable[[NormClass], NormClass]:
    """Register a `Norm` under `name`, for every command, config, test and report; a class decorator.

    Raises:
        TypeError: if the class is not a `Norm`, has no `normalize`, takes other positional arguments than
            `normalized_shape` and `eps`, or has an option without a type or a default of that type.
        ValueError: if the name is taken (both classes are named) or is not a lower-case identifier.
    """

    def register(cls: NormClass) -> NormClass:
        _check_class(name, cls)
        if not name.isidentifier() or name != name.lower() or name in _RESERVED:
            raise ValueError(f"norm {name!r}: the name must be a lower-case identifier, such as 'adanorm'")
        if name in _REGISTRY:
            raise ValueError(
                f"norm {name!r} is taken by {_where(_REGISTRY[name])}; choose another name for {_where(cls)}"
            )
        _REGISTRY[name] = cls
        return cls

    return register


def norm_names() -> list[str]:
    """Return all registered names in alphabetical order."""
    return sorted(_REGISTRY)


def norm_class(name: str) -> type[Norm]:
    """Return the class registered under `name`.

    Raises:
        NormError: if the name is unknown; the message has the nearest name and the list.
    """
    if isinstance(name, str) and name in _REGISTRY:
        return _REGISTRY[name]
    raise NormError(f"unknown norm {name!r}{did_you_mean(str(name), _REGISTRY)} allowed: {', '.join(norm_names())}")


def bind_options(name: str, options: Mapping[str, Any], complete: bool = True) -> dict[str, Any]:
    """Return a norm's options, each of its type in the norm's signature.

    Strings, which a command line brings, and integers for floats, which YAML brings, are converted; nothing else is.

    Args:
        name: a registered name.
        options: names, or short names, and values.
        complete: add the defaults of those that are not given, and have the norm check the values.

    Raises:
        NormError: for an unknown norm or option, a value that is not of the option's type, or one the norm refuses.
    """
    cls = norm_class(name)
    if not isinstance(options, Mapping):
        raise NormError(f"norm {name!r}: options must be names and values, such as {{k: 0.1}}; got {options!r}")
    signature = option_signature(cls)
    given: dict[str, Any] = {}
    for key, value in options.items():
        option = cls.short_options.get(key, key)
        if option not in signature:
            allowed = f"allowed: {', '.join(signature)}" if signature else f"{name} has no options"
            raise NormError(f"norm {name!r} has no option {key!r}{did_you_mean(str(key), signature)} {allowed}")
        if option in given:
            raise NormError(f"norm {name!r}: {key!r} and {option!r} are the same option; use one of them")
        given[option] = value
    bound = {
        option: _convert(name, option, given.get(option, parameter.default), parameter.annotation)
        for option, parameter in signature.items()
        if complete or option in given
    }
    if not complete:
        return bound
    try:
        cls.check_options(**bound)
    except ValueError as error:
        raise NormError(f"norm {name!r}: {error}; use another value") from error
    return bound


def build_norm(
    name: str, normalized_shape: Shape, eps: float = 1e-5, context: NormContext | None = None, **options: Any
) -> Norm:
    """Build one norm by name.

    Args:
        name: a registered name, see `norm_names()`.
        normalized_shape: trailing dimensions to normalize over.
        eps: added to the variance, inside the root.
        context: where the norm stands, for options that are `auto`.
        options: the norm's own options, such as `k` and `scale` of adanorm.

    Raises:
        NormError: for an unknown name or option, or a value that the norm refuses.
    """
    cls, bound = norm_class(name), bind_options(name, options)
    try:
        resolved = cls.resolve_options(normalized_shape, context or NormContext(), **bound)
        return cls(normalized_shape, eps, **resolved)
    except ValueError as error:
        raise NormError(f"norm {name!r}: {error}") from error


def _check_class(name: str, cls: Any) -> None:
    if not (inspect.isclass(cls) and issubclass(cls, Norm)):
        raise TypeError(f"norm {name!r}: {cls!r} must be a subclass of app.norms.Norm")
    if inspect.isabstract(cls):
        raise TypeError(f"norm {name!r}: {_where(cls)} must define normalize(self, x)")
    options = option_signature(cls)
    if [p for p in inspect.signature(cls).parameters if p not in options] != ["normalized_shape", "eps"]:
        raise TypeError(
            f"norm {name!r}: {_where(cls)}.__init__ must take (normalized_shape, eps=1e-5, *, options); "
            "a parameter before the *, other than these two, would not be an option"
        )
    for option, parameter in options.items():
        kind = _KINDS.get(parameter.annotation)
        is_auto = parameter.annotation in _AUTO_KINDS and parameter.default == AUTO
        if kind is None or not (is_auto or _is_of(parameter.default, kind)):
            raise TypeError(
                f"norm {name!r}: option {option!r} needs a type (float, int, bool, str) and a default of that type"
            )
        if option in ("weight_decay", "lr_multiplier", "freeze"):
            raise TypeError(f"norm {name!r}: {option!r} is a setting of every norm; use another name for the option")


def _convert(norm: str, option: str, value: Any, annotation: Any) -> Any:
    kind = _KINDS[annotation]
    try:
        if annotation in _AUTO_KINDS and value == AUTO:
            return AUTO
        if isinstance(value, str):
            return {"true": True, "false": False}[value.lower()] if kind is bool else kind(value)
        if _is_of(value, kind):
            return kind(value)
    except (ValueError, KeyError, OverflowError):
        pass
    also = " or auto" if annotation in _AUTO_KINDS else ""
    raise NormError(f"norm {norm!r}: option {option} is {value!r}; must be of type {kind.__name__}{also}")


def _is_of(value: Any, kind: type) -> bool:
    """Return whether a value that is not text is of this type; an int is a float too, and a bool is nothing else."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return the known word that is nearest to a given one, as part of a message; `;` if none is near."""
    near = difflib.get_close_matches(given.lower(), list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ";"


def _where(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
