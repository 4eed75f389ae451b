"""Names to norm classes, with manners: wrong classes and duplicates are refused, near misses answered."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from app.norms.base import Norm, option_signature

_REGISTRY: dict[str, type[Norm]] = {}
NormClass = TypeVar("NormClass", bound=type[Norm])


class NormError(ValueError):
    """An unknown norm, an option it does not have, or a value it cannot take; the message is for the person."""


def register_norm(name: str) -> Callable[[NormClass], NormClass]:
    """Class decorator: make a `Norm` known to every command, config, test and report under `name`.

    Raises:
        TypeError: if the class is no `Norm`, or an option lacks a type or a default.
        ValueError: if the name is taken (both classes are named) or is no lower-case identifier.
    """

    def register(cls: NormClass) -> NormClass:
        if not (inspect.isclass(cls) and issubclass(cls, Norm)):
            raise TypeError(f"norm {name!r}: {cls!r} must be a subclass of app.norms.Norm")
        if not name.isidentifier() or name != name.lower():
            raise ValueError(f"norm {name!r}: a name is a lower-case identifier, like 'adanorm'")
        if name in _REGISTRY:
            raise ValueError(f"norm {name!r} is taken by {_where(_REGISTRY[name])}; {_where(cls)} needs another name")
        for option, parameter in option_signature(cls).items():
            if parameter.default is parameter.empty or parameter.annotation not in (float, int, bool, str):
                raise TypeError(f"norm {name!r}: option {option!r} needs a default and a type (float, int, bool, str)")
        _REGISTRY[name] = cls
        return cls

    return register


def norm_names() -> list[str]:
    """All registered names, in alphabetical order."""
    return sorted(_REGISTRY)


def norm_class(name: str) -> type[Norm]:
    """The class registered under `name`.

    Raises:
        NormError: for an unknown name, with the nearest one and the list.
    """
    if name in _REGISTRY:
        return _REGISTRY[name]
    raise NormError(f"unknown norm {name!r}{_did_you_mean(str(name), _REGISTRY)} allowed: {', '.join(norm_names())}")


def bind_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a norm, complete with defaults, each value converted to its type in the norm's signature.

    Raises:
        NormError: for an unknown norm or option, or a value that is not of the option's type.
    """
    signature = option_signature(norm_class(name))
    for option in options:
        if option not in signature:
            allowed = f"allowed: {', '.join(signature)}" if signature else f"{name} has no options"
            raise NormError(f"norm {name!r} has no option {option!r}{_did_you_mean(str(option), signature)} {allowed}")
    return {
        option: _convert(name, option, options.get(option, parameter.default), parameter.annotation)
        for option, parameter in signature.items()
    }


def build_norm(name: str, normalized_shape: int | Iterable[int], eps: float = 1e-5, **options: Any) -> Norm:
    """Build one norm by name.

    Args:
        name: a registered name, see `norm_names()`.
        normalized_shape: trailing dimensions to normalize over.
        eps: added to the variance, inside the root.
        options: the norm's own options, such as `k` and `scale` of adanorm.

    Raises:
        NormError: for an unknown name or option, or a value that the norm refuses.
    """
    bound = bind_options(name, options)
    try:
        return norm_class(name)(normalized_shape, eps, **bound)
    except ValueError as error:
        raise NormError(f"norm {name!r}: {error}") from error


def _convert(norm: str, option: str, value: Any, kind: type) -> Any:
    """A value of type `kind`; command lines bring strings, YAML may bring an int for a float."""
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    try:
        if isinstance(value, bool) is (kind is bool) and isinstance(value, (str, kind, int)):
            converted = kind(value)
            if kind is not int or not isinstance(value, float):
                return converted
    except ValueError:
        pass
    raise NormError(f"norm {norm!r}: option {option} takes a value of type {kind.__name__}, got {value!r}")


def _did_you_mean(given: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(given.lower(), list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ";"


def _where(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
