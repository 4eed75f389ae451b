"""NormSpec: what an experiment varies; which norm, with which options, at which sites of the model."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

from app.norms.registry import NormError, bind_options

Sites = Literal["all", "final"] | tuple[str, ...]


@dataclass(frozen=True)
class NormSpec:
    """The norm of a run, checked and complete as soon as it exists.

    Args:
        name: a registered norm, for example layernorm or adanorm.
        options: the norm's own options; omitted ones take the default of its signature.
        sites: all, final (the norm after the last layer of each stack), or regular expressions that are searched in the
            module paths of the model's norms.

    Raises:
        NormError: for an unknown name, option, value or site word, or an invalid regular expression.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    sites: str | Iterable[str] = "all"

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", bind_options(self.name, {} if self.options is None else self.options))
        object.__setattr__(self, "sites", _check_sites(self.sites))

    @property
    def signature(self) -> str:
        """Name and options, e.g. `adanorm(k=0.1,scale=1)`; what scores and run folders are filed under."""
        if not self.options:
            return self.name
        return f"{self.name}({','.join(f'{key}={_short(value)}' for key, value in self.options.items())})"

    @property
    def sites_label(self) -> str:
        """`all`, `final`, or `patterns-` and a digest, so that two selections never share a run folder."""
        if isinstance(self.sites, str):
            return self.sites
        return "patterns-" + hashlib.sha256("\n".join(self.sites).encode()).hexdigest()[:8]

    @property
    def label(self) -> str:
        """The signature, with `@` and the sites where they are not `all`: the norm's name in paths and tables."""
        return self.signature if self.sites == "all" else f"{self.signature}@{self.sites_label}"

    def __str__(self) -> str:
        """The norm in words, for messages and for what a checkpoint must agree with."""
        return f"{self.signature} at sites {self.sites_label}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain types for config.json, checkpoints and result.json; `NormSpec(**d)` is the inverse."""
        sites = self.sites if isinstance(self.sites, str) else list(self.sites)
        return {"name": self.name, "options": dict(self.options), "sites": sites}


def _check_sites(sites: Any) -> Sites:
    if sites == "all" or sites == "final":
        return sites
    if isinstance(sites, (str, bytes, Mapping)) or not isinstance(sites, Iterable):
        raise NormError(f"sites {sites!r}; allowed: all, final, or a list of regular expressions such as ['layer.0']")
    patterns = tuple(sites)
    if not patterns:
        raise NormError("sites is an empty list; allowed: all, final, or a list of at least one regular expression")
    for pattern in patterns:
        try:
            if not isinstance(pattern, str):
                raise TypeError("not a string")
            re.compile(pattern)
        except (re.error, TypeError, OverflowError, RecursionError) as error:
            raise NormError(
                f"sites: {pattern!r} is not a regular expression ({error}); allowed: patterns such as 'layer.0'"
            ) from error
    return patterns


def _short(value: Any) -> str:
    """Write a value as briefly as is unambiguous, for the name of a folder."""
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return quote(value, safe="") if isinstance(value, str) else str(value)
