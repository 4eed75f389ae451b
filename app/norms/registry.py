"""The registry from names to norm classes, with validation and "did you mean"."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from app.norms.base import Norm, Shape, option_signature

_REGISTRY: dict[str, type[Norm]] = {}
_KINDS: dict[Any, type] = {key: kind for kind in (float, int, bool, str) for key in (kind, kind.__name__)}
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
        if not name.isidentifier() or name != name.lower():
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
    raise NormError(f"unknown norm {name!r}{_did_you_mean(str(name), _REGISTRY)} allowed: {', '.join(norm_names())}")


def bind_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a norm's options, complete with defaults, each of its type in the norm's signature.

    Strings, which a command line brings, and integers for floats, which YAML brings, are converted; nothing else is.

    Raises:
        NormError: for an unknown norm or option, a value that is not of the option's type, or one the norm refuses.
    """
    cls = norm_class(name)
    if not isinstance(options, Mapping):
        raise NormError(f"norm {name!r}: options must be names and values, such as {{k: 0.1}}; got {options!r}")
    signature = option_signature(cls)
    for option in options:
        if option not in signature:
            allowed = f"allowed: {', '.join(signature)}" if signature else f"{name} has no options"
            raise NormError(f"norm {name!r} has no option {option!r}{_did_you_mean(str(option), signature)} {allowed}")
    bound = {
        option: _convert(name, option, options.get(option, parameter.default), _KINDS[parameter.annotation])
        for option, parameter in signature.items()
    }
    try:
        cls.check_options(**bound)
    except ValueError as error:
        raise NormError(f"norm {name!r}: {error}; use another value") from error
    return bound


def build_norm(name: str, normalized_shape: Shape, eps: float = 1e-5, **options: Any) -> Norm:
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
        if kind is None or not _is_of(parameter.default, kind):
            raise TypeError(
                f"norm {name!r}: option {option!r} needs a type (float, int, bool, str) and a default of that type"
            )


def _convert(norm: str, option: str, value: Any, kind: type) -> Any:
    try:
        if isinstance(value, str):
            return {"true": True, "false": False}[value.lower()] if kind is bool else kind(value)
        if _is_of(value, kind):
            return kind(value)
    except (ValueError, KeyError, OverflowError):
        pass
    raise NormError(f"norm {norm!r}: option {option} is {value!r}; must be of type {kind.__name__}")


def _is_of(value: Any, kind: type) -> bool:
    """Return whether a value that is not text is of this type; an int is a float too, and a bool is nothing else."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _did_you_mean(given: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(given.lower(), list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ";"


def _where(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
