"""Options of norms and placements: keyword-only parameters with a type and a default, and values for them."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any, Literal

Auto = Literal["auto"]  # an option of type `float | Auto` or `int | Auto` may be left to where the norm stands
AUTO: Auto = "auto"
_KINDS: dict[Any, type] = {key: kind for kind in (float, int, bool, str) for key in (kind, kind.__name__)}
_AUTO_KINDS: dict[Any, type] = {key: kind for kind in (float, int) for key in (kind | Auto, f"{kind.__name__} | Auto")}
_KINDS |= _AUTO_KINDS


class NormError(ValueError):
    """An unknown norm, an option that it does not have, or a value that it cannot take; the message is for the user."""


def is_option(parameter: inspect.Parameter) -> bool:
    """Return whether a parameter has a type that an option can have, and a default of that type."""
    kind = _KINDS.get(parameter.annotation)
    is_auto = parameter.annotation in _AUTO_KINDS and parameter.default == AUTO
    return kind is not None and (is_auto or _is_of(parameter.default, kind))


def bind(
    what: str,
    signature: Mapping[str, inspect.Parameter],
    options: Mapping[str, Any],
    short_names: Mapping[str, str],
    complete: bool = True,
) -> dict[str, Any]:
    """Return options, each of its type in a signature.

    Args:
        what: has the options, for messages, such as `norm 'adanorm'`.
        signature: its options.
        options: names, or short names, and values.
        short_names: other names of options.
        complete: add the defaults of those that are not given.

    Raises:
        NormError: for an unknown option, or a value that is not of its type.
    """
    if not isinstance(options, Mapping):
        raise NormError(f"{what}: options must be names and values, such as {{k: 0.1}}; got {options!r}")
    given: dict[str, Any] = {}
    key_of: dict[str, str] = {}
    for key, value in options.items():
        option = short_names.get(key, key)
        if option not in signature:
            allowed = (
                f"allowed: {', '.join(signature)}" if signature else f"{what.split()[-1].strip(chr(39))} has no options"
            )
            raise NormError(f"{what} has no option {key!r}{did_you_mean(str(key), signature)} {allowed}")
        if option in given:
            raise NormError(f"{what}: {key_of[option]!r} and {key!r} are the same option; use one of them")
        given[option], key_of[option] = value, key
    return {
        option: _convert(what, option, given.get(option, parameter.default), parameter.annotation)
        for option, parameter in signature.items()
        if complete or option in given
    }


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return the known word that is nearest to a given one, as part of a message; `;` if none is near."""
    near = difflib.get_close_matches(given.lower(), list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ";"


def _convert(what: str, option: str, value: Any, annotation: Any) -> Any:
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
    raise NormError(f"{what}: option {option} is {value!r}; must be of type {kind.__name__}{also}")


def _is_of(value: Any, kind: type) -> bool:
    """Return whether a value that is not text is of this type; an int is a float too, and a bool is nothing else."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)
