"""PlacementSpec: where the norms of a run stand; checked when it is made, short when it is printed."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.backbones.placement.layout import NATIVE, check_options, layout_rule, placement_names
from app.norms import NormError, norm_signature
from app.norms.options import bind, did_you_mean


@dataclass(frozen=True)
class PlacementSpec:
    """The placement of a run, checked and complete as soon as it exists.

    Args:
        name: native, or a registered placement such as peri.
        options: the placement's own options; omitted ones take their defaults.

    Raises:
        NormError: for an unknown name or option, or a value that is not of its type or that suits no model.
    """

    name: str = NATIVE
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        names = placement_names()
        if self.name not in names:
            hint = did_you_mean(str(self.name), names)
            raise NormError(f"unknown placement {self.name!r}{hint} allowed: {', '.join(names)}")
        signature = {} if self.name == NATIVE else _options_of(self.name)
        bound = bind(f"placement {self.name!r}", signature, {} if self.options is None else self.options, {})
        try:
            check_options(self.name, bound)
        except ValueError as error:
            raise NormError(f"placement {self.name!r}: {error}") from error
        object.__setattr__(self, "options", bound)

    @classmethod
    def parse(cls, value: Any) -> PlacementSpec:
        """Read a name, or a mapping of name and options, as a YAML or `to_dict` gives.

        Raises:
            NormError: for anything else, and for a wrong value.
        """
        if isinstance(value, PlacementSpec):
            return value
        if isinstance(value, str):
            return cls(value)
        if isinstance(value, Mapping) and "name" in value and value.keys() <= {"name", "options"}:
            return cls(**value)
        raise NormError(f"placement is {value!r}; must be a name, or a mapping of name and options")

    @property
    def signature(self) -> str:
        """Name and options, e.g. `peri(queries_and_keys=none)`."""
        return norm_signature(self.name, self.options)

    @property
    def suffix(self) -> str:
        """What follows the name of a norm in paths and tables: nothing for native, else `~` and the signature."""
        return "" if self.is_native else f"~{self.signature}"

    def __str__(self) -> str:
        """The signature, for messages and for what a checkpoint must agree with."""
        return self.signature

    @property
    def is_native(self) -> bool:
        """Whether the norms stand where the model has them."""
        return self.name == NATIVE

    def to_dict(self) -> dict[str, Any]:
        """Return plain types; `PlacementSpec.parse(d)` is the inverse."""
        return {"name": self.name, "options": dict(self.options)}


def _options_of(name: str) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(layout_rule(name)).parameters
    return {key: p for key, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
