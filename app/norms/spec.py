"""NormSpec: what an experiment varies; which norm, with which options, at which sites of the model."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal
from urllib.parse import quote

from app.norms.context import ROLES
from app.norms.options import NormError, did_you_mean
from app.norms.registry import bind_options, norm_names

NATIVE = "native"  # the word for a rule that leaves the model's own norms
SITE_WORDS = ("all", *ROLES)
FROZEN_WORDS = ("gain", "bias")
_LONGEST_LABEL = 120  # file systems take 255 bytes


@dataclass(frozen=True)
class NormRule:
    """One norm and the sites that it takes, checked and complete as soon as it exists.

    Args:
        name: a registered norm, for example layernorm or adanorm, or native for the model's own.
        options: the norm's own options; omitted ones take the default of its signature.
        sites: all; a role (see `app.norms.ROLES`), such as final; or a list of roles and of regular expressions that
            are searched in the module paths of the model's norms.
        by_role: options that replace those above where the norm has this role, such as {ffn: {alpha: 0.2}}.
        weight_decay: of all parameters of these norms, which it draws to 0; None for what the run does, which is none.
        lr_multiplier: factor of their learning rate; 0 keeps all of them constant.
        freeze: gain, bias, or a list of both: these keep their start values.

    Raises:
        NormError: for an unknown name, option, value, role or site word, or an invalid regular expression.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    sites: str | Iterable[str] = "all"
    by_role: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)
    weight_decay: float | None = None
    lr_multiplier: float = 1.0
    freeze: str | Iterable[str] = ()

    def __post_init__(self) -> None:
        options = {} if self.options is None else self.options
        by_role = {} if self.by_role is None else self.by_role
        if self.name == NATIVE and (options or by_role):
            raise NormError(f"norm {NATIVE!r} is the model's own and has no options; omit options and by_role")
        object.__setattr__(self, "options", {} if self.name == NATIVE else bind_options(self.name, options))
        object.__setattr__(self, "by_role", self._bound_by_role(by_role))
        object.__setattr__(self, "sites", _checked_sites(self.sites))
        decay = None if self.weight_decay is None else _number("weight_decay", self.weight_decay, least=0.0)
        object.__setattr__(self, "weight_decay", decay)
        object.__setattr__(self, "lr_multiplier", _number("lr_multiplier", self.lr_multiplier, least=0.0))
        object.__setattr__(self, "freeze", _checked_freeze(self.freeze))

    def options_at(self, role: str) -> dict[str, Any]:
        """Return the options for a site with this role."""
        return {**self.options, **self.by_role.get(role, {})}

    @property
    def signature(self) -> str:
        """Name and settings, e.g. `adanorm(k=0.1,scale=1)` or `dyt(alpha_init=0.8,ffn.alpha_init=0.2)`."""
        own = {f"{role}.{key}": value for role, given in self.by_role.items() for key, value in given.items()}
        return norm_signature(self.name, {**self.options, **own, **self._optimization()})

    @property
    def sites_label(self) -> str:
        """`all`, a role, or `patterns-` and a digest, so that two selections never share a run folder."""
        if isinstance(self.sites, str):
            return self.sites
        sites = list(self.sites)  # a line for each, except where a pattern has a line break of its own
        text = json.dumps(sites) if any("\n" in site for site in sites) else "\n".join(sites)
        return "patterns-" + hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def sites_in_words(self) -> str:
        """Where the norm goes, for a reader: the word, or the roles and patterns themselves."""
        return self.sites if isinstance(self.sites, str) else ", ".join(f"`{pattern}`" for pattern in self.sites)

    @property
    def has_own_group(self) -> bool:
        """Whether the optimizer treats the parameters of these norms otherwise than those of other norms."""
        return self.weight_decay is not None or self.lr_multiplier != 1

    @property
    def label(self) -> str:
        """The signature, with `@` and the sites where they are not `all`."""
        return self.signature if self.sites == "all" else f"{self.signature}@{self.sites_label}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain types; `NormRule(**d)` is the inverse. What a rule need not say is omitted."""
        sites = self.sites if isinstance(self.sites, str) else list(self.sites)
        by_role = {"by_role": {role: dict(given) for role, given in self.by_role.items()}} if self.by_role else {}
        optimization = self._optimization()
        if self.freeze:
            optimization["freeze"] = list(self.freeze)
        return {"name": self.name, "options": dict(self.options), "sites": sites, **by_role, **optimization}

    def _optimization(self) -> dict[str, Any]:
        """The settings of the optimizer that differ from the run's."""
        settings: dict[str, Any] = {}
        if self.weight_decay is not None:
            settings["weight_decay"] = self.weight_decay
        if self.lr_multiplier != 1:
            settings["lr_multiplier"] = self.lr_multiplier
        if self.freeze:
            settings["freeze"] = "+".join(self.freeze)
        return settings

    def _bound_by_role(self, by_role: Any) -> dict[str, dict[str, Any]]:
        if not isinstance(by_role, Mapping):
            raise NormError(f"by_role is {by_role!r}; must be roles and options, such as {{ffn: {{alpha: 0.2}}}}")
        bound: dict[str, dict[str, Any]] = {}
        for role, given in by_role.items():
            if role not in ROLES:
                raise NormError(
                    f"by_role has no role {role!r}{did_you_mean(str(role), ROLES)} allowed: {', '.join(ROLES)}"
                )
            if not isinstance(given, Mapping):
                raise NormError(f"by_role.{role} is {given!r}; must be options, such as {{alpha: 0.2}}")
            bound[role] = bind_options(self.name, given, complete=False)
            bind_options(self.name, {**self.options, **bound[role]})  # the norm checks the values together
        return {role: bound[role] for role in ROLES if bound.get(role)}  # equal rules are written alike


@dataclass(frozen=True)
class NormSpec:
    """The norms of a run: rules, of which each norm of the model takes the first that matches it.

    A norm that no rule matches keeps what the model has.

    Args:
        rules: one for a run with one norm; the order decides where several match.
        embedding_scale: start value of a learned factor on the input of the first block of each stack, or auto for the
            root of its width; None for no factor. Zhu et al. 2025 and Chen et al. 2025 need it in language models with
            dyt and derf.

    Raises:
        NormError: for a wrong value.
    """

    rules: tuple[NormRule, ...]
    embedding_scale: float | Literal["auto"] | None = None

    def __post_init__(self) -> None:
        scale = self.embedding_scale
        if scale is not None and scale != "auto":
            object.__setattr__(self, "embedding_scale", _number("embedding_scale", scale, least=None))
            if self.embedding_scale == 0:
                raise NormError("embedding_scale is 0, with which no block sees its input; use another number or auto")

    @classmethod
    def parse(cls, value: Any) -> NormSpec:
        """Read what a YAML, a command line or `to_dict` gives.

        Args:
            value: a name; a mapping of `NormRule`'s arguments; a list of these; or a mapping with this list as `rules`.
                Either mapping may have `embedding_scale`.

        Raises:
            NormError: for anything else, and for a wrong value.
        """
        if isinstance(value, NormSpec):
            return value
        scale = None
        if isinstance(value, Mapping) and "embedding_scale" in value:
            scale = value["embedding_scale"]
            value = {key: given for key, given in value.items() if key != "embedding_scale"}
        if isinstance(value, Mapping) and "rules" in value:
            if others := [key for key in value if key != "rules"]:
                raise NormError(f"norm has rules, which take no {', '.join(map(str, others))} beside them")
            value = value["rules"]
            if not isinstance(value, list | tuple):
                raise NormError(f"norm.rules is {value!r}; must be a list of norms")
        if not isinstance(value, list | tuple):
            return cls((_parse_rule(value),), scale)
        if not value:
            raise NormError("norm is an empty list; must have at least one rule")
        rules = []
        for number, entry in enumerate(value, start=1):
            try:
                rules.append(_parse_rule(entry))
            except NormError as error:
                raise NormError(f"rule {number} of norm: {error}") from error
        return cls(tuple(rules), scale)

    @property
    def name(self) -> str:
        """The name of the norm; names of several rules are joined, such as `layernorm+adanorm`."""
        return "+".join(dict.fromkeys(rule.name for rule in self.rules))

    @property
    def signature(self) -> str:
        """Name and settings, e.g. `adanorm(k=0.1,scale=1)`; what scores and run folders are filed under.

        Of several rules, all with their sites: `layernorm@final+native@qk+adanorm(k=0.1,scale=1)`.
        """
        one = len(self.rules) == 1
        parts = [self.rules[0].signature] if one else [rule.label for rule in self.rules]
        if self.embedding_scale is not None:
            parts.append(norm_signature("embedding_scale", {"init": self.embedding_scale}))
        return "+".join(parts)

    @property
    def sites_label(self) -> str:
        """Of one rule, its sites: `all`, a role, or `patterns-` and a digest; else `rules`."""
        return self.rules[0].sites_label if len(self.rules) == 1 else "rules"

    @property
    def label(self) -> str:
        """The signature, with `@` and the sites where one rule has others than all: the name in paths and tables."""
        one = len(self.rules) == 1 and self.rules[0].sites != "all"
        label = f"{self.signature}@{self.sites_label}" if one else self.signature
        if len(label) <= _LONGEST_LABEL:
            return label
        return f"{self.name[: _LONGEST_LABEL - 9]}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"

    @property
    def is_plain(self) -> bool:
        """Whether the run has one norm with nothing but options and sites, as the norms of published tables."""
        (*others, rule) = self.rules
        return not others and self.embedding_scale is None and rule == NormRule(rule.name, rule.options, rule.sites)

    @property
    def label_is_short(self) -> bool:
        """Whether the label has a digest in the place of rules or patterns, so that a reader needs `in_words`."""
        return not all(isinstance(rule.sites, str) and rule.signature in self.label for rule in self.rules)

    @property
    def in_words(self) -> str:
        """All rules in their order, for a reader, e.g. "`layernorm` at final, else `adanorm(k=0.1,scale=1)` at all"."""
        words = ", else ".join(f"`{rule.signature}` at {rule.sites_in_words}" for rule in self.rules)
        return words if self.embedding_scale is None else f"{words}; embedding_scale {self.embedding_scale}"

    def __str__(self) -> str:
        """The norm in words, for messages and for what a checkpoint must agree with."""
        return f"{self.signature} at sites {self.sites_label}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain types for config.json, checkpoints and result.json; `NormSpec.parse(d)` is the inverse."""
        one = len(self.rules) == 1
        written = self.rules[0].to_dict() if one else {"rules": [rule.to_dict() for rule in self.rules]}
        return written if self.embedding_scale is None else {**written, "embedding_scale": self.embedding_scale}


def norm_signature(name: str, options: Mapping[str, Any]) -> str:
    """Write a norm with its options as briefly as is unambiguous, e.g. `adanorm(k=0.1,scale=1)`."""
    if not options:
        return name
    return f"{name}({','.join(f'{key}={_short(value)}' for key, value in options.items())})"


def _parse_rule(value: Any) -> NormRule:
    keys = [rule_field.name for rule_field in fields(NormRule)]
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping):
        raise NormError(f"norm is {value!r}; must be a name, a mapping of {', '.join(keys)}, or a list of these")
    for key in value:
        if key not in keys:
            raise NormError(f"norm has no key {key!r}{did_you_mean(str(key), keys)} allowed: {', '.join(keys)}")
    if "name" not in value:
        raise NormError(f"norm {dict(value)!r} has no name; allowed: {', '.join([*norm_names(), NATIVE])}")
    return NormRule(**value)


def _checked_sites(sites: Any) -> str | tuple[str, ...]:
    allowed = f"{', '.join(SITE_WORDS)}, or a list of these and of regular expressions such as ['layer.0']"
    if isinstance(sites, str) and sites in SITE_WORDS:
        return sites
    if isinstance(sites, (str, bytes, Mapping)) or not isinstance(sites, Iterable):
        raise NormError(f"sites {sites!r}; allowed: {allowed}")
    patterns = tuple(sites)
    if not patterns:
        raise NormError(f"sites is an empty list; allowed: {allowed}")
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


def _checked_freeze(freeze: Any) -> tuple[str, ...]:
    words = (freeze,) if isinstance(freeze, str) else () if freeze is None else freeze
    if not isinstance(words, list | tuple) or not all(word in FROZEN_WORDS for word in words):
        raise NormError(f"freeze is {freeze!r}; must be gain, bias, or a list of both")
    return tuple(word for word in FROZEN_WORDS if word in words)


def _number(key: str, value: Any, least: float | None) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or (least is not None and number < least):
        also = " or auto" if key == "embedding_scale" else ""
        raise NormError(f"{key} is {value!r}; must be a number{'' if least is None else f' >= {least:g}'}{also}")
    return number


def _short(value: Any) -> str:
    """Write a value as briefly as is unambiguous, for the name of a folder."""
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return quote(value, safe="+") if isinstance(value, str) else str(value)
