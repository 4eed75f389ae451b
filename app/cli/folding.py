"""A setting that identifies a run, such as the norm, merged before the parser runs, so that it is checked first.

It can be set by `--KEY NAME`, `--KEY.X VALUE` for each of its keys (`--KEY.options.k 0.2`), and in YAML by `KEY: NAME`
or a mapping of these keys. Later settings replace earlier ones key by key; another name drops the options set before
it. Flags may be in any order: those before the first name belong to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from app.errors import InputError
from app.errors.yaml_file import parse_yaml, read_settings
from app.installation import config_path

_SECTIONS = {
    "model": "{init_args: {pooling: mean}}",
    "data": "{init_args: {source: FILE}}",
    "trainer": "{max_epochs: 3}",
}


@dataclass(frozen=True)
class FoldedSetting:
    """What `fold` must know of a setting.

    Attributes:
        key: its name, such as norm.
        default: its value when neither a flag nor a YAML names one.
        keys: of its mapping; `name` is one of them.
        nested: those that hold mappings, which are merged key by key, with an example of each.
        short_names: the other names of the options of a name, so that each setting replaces the same option.
        stays: those that stay when another name is set.
        beside_rules: where it may also be a list of such mappings, which replaces everything, the keys that may stand
            beside it; None where it may not.
        to_plain: checks a merged mapping, and returns its complete form in plain types.
        when_empty: what may be given in the place of nothing, for a message.
    """

    key: str
    default: str
    keys: tuple[str, ...]
    nested: dict[str, str]
    short_names: Callable[[Any], Mapping[str, str]]
    stays: tuple[str, ...]
    beside_rules: tuple[str, ...] | None
    to_plain: Callable[[dict[str, Any]], dict[str, Any]]
    when_empty: str


def fold(setting: FoldedSetting, arguments: Sequence[str], base_configs: Sequence[Path]) -> tuple[list[str], list[str]]:
    """The arguments without those of a setting, and all that they and their YAML files set of it as one flag.

    The flag and its value are empty where the command needs none, as for help.

    Args:
        setting: which.
        arguments: the command line, without the program's name.
        base_configs: YAML files that are read before those of the command line.

    Raises:
        InputError: for a flag without a value, an invalid YAML file, or a value that is not a name or a mapping.
        NormError: for an unknown name, option or value.
    """
    typed = f"--{setting.key}"
    read = [(_of_file(setting, path), str(path)) for path in base_configs]  # what is set, and where, in order
    first_flag: int | None = None
    named: str | None = None
    rest: list[str] = []
    queue = list(arguments)
    while queue:
        argument = queue.pop(0)
        flag, equals, value = argument.partition("=")
        is_own = flag == typed or flag.startswith(f"{typed}.")
        if not is_own and flag not in ("--config", "-c"):
            rest.append(argument)
            continue
        if not equals:
            if not queue:
                raise InputError(f"{flag} expects a value; add one after it")
            value = queue.pop(0)
        if is_own:
            update = _from_flag(setting, flag, value)
            first_flag = len(read) if first_flag is None else first_flag
            if named is None and (named := _name_in(update)) is not None:
                read.insert(first_flag, ({"name": named}, flag))  # flags before the name belong to it, too
            read.append((update, flag))
        else:
            path = config_path(value)
            rest += [flag, str(path)]
            read.append((_of_file(setting, path), value))
    merged: dict[str, Any] = {"name": setting.default}
    for update, where in read:
        merged = _merged(setting, merged, update, where)
    if not {"fit", "validate", "test", "predict"} & set(rest) or any(map(_asks_for_help, rest)):
        return rest, []
    return rest, [typed, yaml.safe_dump(setting.to_plain(merged), default_flow_style=True, width=2**20).strip()]


def _name_in(update: Any) -> str | None:
    """The name that a flag sets, if it sets one."""
    name = update.get("name") if isinstance(update, dict) else update
    return name if isinstance(name, str) else None


def _asks_for_help(argument: str) -> bool:
    flag = argument.partition("=")[0]
    return flag in ("-h", "--help") or (flag.startswith("--") and flag.endswith(".help"))


def _of_file(setting: FoldedSetting, path: Path) -> Any:
    """What a YAML file sets; checks its other sections too, about which the parser has no clear message."""
    content = read_settings(path, f"--config {path}", "write settings, with keys such as norm, data, model and trainer")
    for key, example in _SECTIONS.items():
        value = content.get(key, {})
        if not (isinstance(value, dict) or (isinstance(value, str) and key != "trainer")):
            raise InputError(f"--config {path}: {key} is {value!r}; use a mapping such as {example}, or omit it")
        if isinstance(value, str) and value.endswith(".yaml"):
            read_settings(path.parent / value, f"--config {path}: {key}: {value}", "give class_path and init_args")
    if setting.key in content and content[setting.key] is None:
        raise _empty(setting, f"--config {path}: {setting.key}")
    return content.get(setting.key)


def _empty(setting: FoldedSetting, place: str) -> InputError:
    return InputError(f"{place} is empty; use a name, or omit it ({setting.when_empty})")


def _from_flag(setting: FoldedSetting, flag: str, value: str) -> Any:
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
            raise _empty(setting, flag)
        return parsed
    nested: Any = value if keys == ["name"] else parsed
    for key in reversed(keys):
        nested = {key: nested}
    return nested


def _merged(setting: FoldedSetting, merged: dict[str, Any], update: Any, where: str) -> dict[str, Any]:
    """The settings so far, with those of one more place."""
    what, stays, beside = setting.key, setting.stays, setting.beside_rules
    if update is None:
        return merged
    if isinstance(update, list) and beside is not None:
        update = {"rules": update}
    if isinstance(update, str):
        update = {"name": update}
    if not isinstance(update, dict):
        also = "" if beside is None else ", or a list of these"
        raise InputError(
            f"{where}: {what} is {update!r}; use a name,{'' if also else ' or'} a mapping with "
            f"{', '.join(setting.keys)}{also}"
        )
    if "rules" in update and beside is not None:
        return {key: merged[key] for key in beside if key in merged} | update
    for key in update:
        if key not in setting.keys:
            raise InputError(f"{where}: {what} has no key {key!r}; allowed: {', '.join(setting.keys)}")
    for key, example in setting.nested.items():
        if not isinstance(update.get(key) or {}, dict):
            raise InputError(f"{where}: {what}.{key} is {update[key]!r}; use a mapping such as {example}")
    if "rules" in merged and beside is not None:
        if "name" not in update and update.keys() != set(beside):
            raise InputError(
                f"{where}: {what} is a list of rules, whose keys a flag cannot change; pass the list, or a name"
            )
        if "name" in update:
            merged = {"name": None, **{key: merged[key] for key in stays if key in merged}}
    if "name" in update and update["name"] != merged["name"]:
        merged = {key: merged[key] for key in stays if key in merged}
    both = {**merged, **update}
    long_names = setting.short_names(both.get("name"))
    for key in setting.nested:
        if key in both:
            both[key] = _deep(merged.get(key) or {}, _renamed(update.get(key) or {}, long_names))
    return both


def _renamed(options: dict[str, Any], long_names: Mapping[str, str]) -> dict[str, Any]:
    """The options by their long names, also in mappings that they hold; one given by both names keeps both."""
    renamed = {}
    for key, value in options.items():
        name = long_names.get(key, key)
        renamed[key if name in options else name] = _renamed(value, long_names) if isinstance(value, dict) else value
    return renamed


def _deep(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Both mappings, of which the new one wins key by key, also in mappings that they hold."""
    both = {**old, **new}
    for key in old.keys() & new.keys():
        if isinstance(old[key], dict) and isinstance(new[key], dict):
            both[key] = _deep(old[key], new[key])
    return both
