"""Which rule of a spec each norm of a model takes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from app.backbones.sites import name_paths
from app.errors import InputError
from app.norms import AUTO, ROLES, NormRule, NormSpec
from app.norms.context import Role


def assign_rules(
    spec: NormSpec, role_by_paths: Mapping[tuple[str, ...], Role], model_name: str
) -> list[NormRule | None]:
    """Return the rule that each norm takes: the first that matches it, or None.

    Args:
        spec: the rules.
        role_by_paths: of each norm, its paths in the model and its role.
        model_name: for messages.

    Raises:
        InputError: for a rule or pattern that matches no norm, or only norms that earlier rules take; for options by a
            role that none of the norms of their rule has.
    """
    assigned: dict[tuple[str, ...], NormRule] = {}
    for number, rule in enumerate(spec.rules, start=1):
        place = f"rule {number} of norm ({rule.label}): " if len(spec.rules) > 1 else ""
        matched: set[tuple[str, ...]] = set()
        for word in (rule.sites,) if isinstance(rule.sites, str) else rule.sites:
            hits = {paths for paths, role in role_by_paths.items() if _matches(word, paths, role)}
            if not hits:
                raise InputError(
                    f"{place}sites: '{word}' matches no norm of {model_name}; its {len(role_by_paths)} norms: "
                    f"{name_paths(paths[0] for paths in role_by_paths)}; "
                    f"their roles: {_counted(role_by_paths.values())}"
                )
            matched |= hits
        free = matched - assigned.keys()
        if not free:
            raise InputError(f"{place}earlier rules take all norms that it matches; put it before them, or remove it")
        taken = [role_by_paths[paths] for paths in free]
        for role in rule.by_role:
            if role not in taken:
                raise InputError(
                    f"{place}by_role.{role}: no norm that {rule.name} takes in {model_name} has this role; omit it; "
                    f"their roles: {_counted(taken)}"
                )
        assigned |= dict.fromkeys(free, rule)
    return [assigned.get(paths) for paths in role_by_paths]


def wish_for_roles(spec: NormSpec) -> str | None:
    """Return what in a spec depends on where norms stand, for a message; None if nothing does."""
    for rule in spec.rules:
        for word in (rule.sites,) if isinstance(rule.sites, str) else rule.sites:
            if word in ROLES:
                return f"sites '{word}'"
        if (wish := wish_for_context(rule)) is not None:
            return wish
    return None


def wish_for_context(rule: NormRule) -> str | None:
    """Return which options of a rule depend on where its norms stand, for a message; None if none does."""
    if rule.by_role:
        return "norm.by_role"
    for option, value in rule.options.items():
        if value == AUTO:
            return f"{option} auto of norm {rule.name!r}"
    return None


def _counted(roles: Iterable[Role]) -> str:
    counts = Counter(roles)
    return ", ".join(f"{role} ({counts[role]})" for role in ROLES if counts[role])


def _matches(word: str, paths: Sequence[str], role: Role) -> bool:
    if word == "all":
        return True
    return role == word if word in ROLES else any(re.search(word, path) for path in paths)
