"""The norm of a command line and its YAML files, merged before the parser runs, so that it is checked first.

It can be set by `--norm NAME`, `--norm.KEY VALUE` for each key of `NormRule` (`--norm.options.k 0.2`,
`--norm.by_role.ffn.alpha 0.2`, `--norm.sites WORD-OR-LIST`), and in YAML by `norm: NAME`, a mapping of these keys, or a
list of such rules. Later settings replace earlier ones key by key; another name drops the options set before it, and
a list everything. Flags may stand in any order: those before the first name are of the norm that it names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from app.errors import InputError
from app.errors.yaml_file import parse_yaml, read_settings
from app.installation import config_path
from app.norms import NormRule, NormSpec

KEYS = (*(field.name for field in fields(NormRule)), "embedding_scale")
_OF_ALL_NORMS = ("sites", "embedding_scale")  # stay when another norm is named
_SECTIONS = {
    "model": "{init_args: {pooling: mean}}",
    "data": "{init_args: {source: FILE}}",
    "trainer": "{max_epochs: 3}",
}
_EXAMPLES = {"options": "{scale: 2}", "by_role": "{ffn: {alpha: 0.2}}"}
DEFAULT = "layernorm"  # the norm when neither a flag nor a YAML names one


def fold_norm(arguments: Sequence[str], base_configs: Sequence[Path]) -> list[str]:
    """The arguments, with all settings of the norm in them and in their YAML files merged into one `--norm` at the end.

    Args:
        arguments: the command line, without the program's name.
        base_configs: YAML files that are read before those of the command line.

    Raises:
        InputError: for a flag without a value, an invalid YAML file, or a `norm` that is not a name or a mapping.
        NormError: for an unknown norm, option or value.
    """
    read = [(_norm_of(path), str(path)) for path in base_configs]  # what sets the norm, and where, in order
    first_flag: int | None = None
    named: str | None = None
    rest: list[str] = []
    queue = list(arguments)
    while queue:
        argument = queue.pop(0)
        flag, equals, value = argument.partition("=")
        is_norm = flag == "--norm" or flag.startswith("--norm.")
        if not is_norm and flag not in ("--config", "-c"):
            rest.append(argument)
            continue
        if not equals:
            if not queue:
                raise InputError(f"{flag} expects a value; add one after it")
            value = queue.pop(0)
        if is_norm:
            update = _from_flag(flag, value)
            first_flag = len(read) if first_flag is None else first_flag
            if named is None and (named := _name_in(update)) is not None:
                read.insert(first_flag, ({"name": named}, flag))  # flags before the name are of this norm, too
            read.append((update, flag))
        else:
            path = config_path(value)
            rest += [flag, str(path)]
            read.append((_norm_of(path), value))
    norm: dict[str, Any] = {"name": DEFAULT}
    for update, where in read:
        norm = _merged(norm, update, where)
    if not {"fit", "validate", "test", "predict"} & set(rest) or any(map(_asks_for_help, rest)):
        return rest
    spec = NormSpec.parse(norm).to_dict()
    return [*rest, "--norm", yaml.safe_dump(spec, default_flow_style=True, width=2**20).strip()]


def _name_in(update: Any) -> str | None:
    """The norm that a flag names, if it names one."""
    name = update.get("name") if isinstance(update, dict) else update
    return name if isinstance(name, str) else None


def _asks_for_help(argument: str) -> bool:
    flag = argument.partition("=")[0]
    return flag in ("-h", "--help") or (flag.startswith("--") and flag.endswith(".help"))


def _norm_of(path: Path) -> Any:
    """The norm of a YAML file; checks its other sections too, about which the parser has no clear message."""
    content = read_settings(path, f"--config {path}", "write settings, with keys such as norm, data, model and trainer")
    for key, example in _SECTIONS.items():
        value = content.get(key, {})
        if not (isinstance(value, dict) or (isinstance(value, str) and key != "trainer")):
            raise InputError(f"--config {path}: {key} is {value!r}; use a mapping such as {example}, or omit it")
        if isinstance(value, str) and value.endswith(".yaml"):
            read_settings(path.parent / value, f"--config {path}: {key}: {value}", "give class_path and init_args")
    if "norm" in content and content["norm"] is None:
        raise _empty(f"--config {path}: norm")
    return content.get("norm")


def _empty(place: str) -> InputError:
    return InputError(f"{place} is empty; use a name, or omit it (none trains without norms)")


def _from_flag(flag: str, value: str) -> Any:
    if not value.strip():
        raise InputError(f"{flag} is empty; pass a value, or omit it")
    try:
        parsed = parse_yaml(value, flag)
    except InputError:
        if value.lstrip()[0] in "[{":
            raise
        parsed = value  # a name or a pattern with characters that YAML gives a meaning
    keys = flag.split(".")[1:]
    if not keys:
        if parsed is None:  # YAML reads `none` as text, but `null` and `~` as nothing
            raise _empty(flag)
        return parsed
    nested: Any = value if keys == ["name"] else parsed
    for key in reversed(keys):
        nested = {key: nested}
    return nested


def _merged(norm: dict[str, Any], update: Any, where: str) -> dict[str, Any]:
    """The settings so far, with those of one more place."""
    if update is None:
        return norm
    if isinstance(update, list):
        update = {"rules": update}
    if isinstance(update, str):
        update = {"name": update}
    if not isinstance(update, dict):
        raise InputError(
            f"{where}: norm is {update!r}; use a name, a mapping with {', '.join(KEYS)}, or a list of these"
        )
    if "rules" in update:
        return {key: norm[key] for key in ("embedding_scale",) if key in norm} | update
    for key in update:
        if key not in KEYS:
            raise InputError(f"{where}: norm has no key {key!r}; allowed: {', '.join(KEYS)}")
    for key in ("options", "by_role"):
        if not isinstance(update.get(key) or {}, dict):
            raise InputError(f"{where}: norm.{key} is {update[key]!r}; use a mapping such as {_EXAMPLES[key]}")
    if "rules" in norm:
        if "name" not in update and update.keys() != {"embedding_scale"}:
            raise InputError(
                f"{where}: norm is a list of rules, whose keys a flag cannot change; pass the list, or a name"
            )
        if "name" in update:
            norm = {"name": None, **{key: norm[key] for key in _OF_ALL_NORMS if key in norm}}
    if "name" in update and update["name"] != norm["name"]:
        norm = {key: norm[key] for key in _OF_ALL_NORMS if key in norm}
    merged = {**norm, **update}
    for key in ("options", "by_role"):
        if key in merged:
            merged[key] = _deep(norm.get(key) or {}, update.get(key) or {})
    return merged


def _deep(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Both mappings, of which the new one wins key by key, also in mappings that they hold."""
    both = {**old, **new}
    for key in old.keys() & new.keys():
        if isinstance(old[key], dict) and isinstance(new[key], dict):
            both[key] = _deep(old[key], new[key])
    return both
