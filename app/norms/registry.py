"""The registry from names to norm classes, with validation and "did you mean"."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from app.norms.base import Norm, Shape, option_signature
from app.norms.context import NormContext
from app.norms.options import NormError, bind, did_you_mean, is_option

_REGISTRY: dict[str, type[Norm]] = {}
_RESERVED = ("native", "rules")  # words of a config in the place of a norm's name
NormClass = TypeVar("NormClass", bound=type[Norm])


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
    bound = bind(f"norm {name!r}", option_signature(cls), options, cls.short_options, complete)
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
        if not is_option(parameter):
            raise TypeError(
                f"norm {name!r}: option {option!r} needs a type (float, int, bool, str) and a default of that type"
            )
        if option in ("weight_decay", "lr_multiplier", "freeze"):
            raise TypeError(f"norm {name!r}: {option!r} is a setting of every norm; use another name for the option")


def _where(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
