"""The norm of a command line and its YAML files, merged before the parser runs, so that it is checked first.

It can be set by `--norm NAME`, `--norm.name NAME`, `--norm.options.KEY VALUE`, `--norm.sites WORD-OR-LIST`, and in YAML
by `norm: NAME` or `norm: {name, options, sites}`. Later settings replace earlier ones key by key; another name drops
the options set before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from app.errors import InputError
from app.errors.yaml_file import parse_yaml, read_settings
from app.installation import config_path
from app.norms import NormSpec

KEYS = ("name", "options", "sites")
_SECTIONS = {
    "model": "{init_args: {pooling: mean}}",
    "data": "{init_args: {source: FILE}}",
    "trainer": "{max_epochs: 3}",
}
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
    norm: dict[str, Any] = {"name": DEFAULT, "options": {}, "sites": "all"}
    for path in base_configs:
        _merge(norm, _norm_of(path), str(path))
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
            _merge(norm, _from_flag(flag, value), flag)
        else:
            path = config_path(value)
            rest += [flag, str(path)]
            _merge(norm, _norm_of(path), value)
    if not {"fit", "validate", "test", "predict"} & set(rest) or any(map(_asks_for_help, rest)):
        return rest
    spec = NormSpec(**norm).to_dict()
    return [*rest, "--norm", yaml.safe_dump(spec, default_flow_style=True, width=2**20).strip()]


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
    parts = flag.split(".")[1:]
    if not parts:
        if parsed is None:  # YAML reads `none` as text, but `null` and `~` as nothing
            raise _empty(flag)
        return parsed
    if parts[0] == "options" and len(parts) == 2:
        return {"options": {parts[1]: parsed}}
    return {".".join(parts): value if parts[0] == "name" else parsed}


def _merge(norm: dict[str, Any], update: Any, where: str) -> None:
    if update is None:
        return
    if isinstance(update, str):
        update = {"name": update}
    if not isinstance(update, dict):
        raise InputError(f"{where}: norm is {update!r}; use a name, or a mapping with {', '.join(KEYS)}")
    for key in update:
        if key not in KEYS:
            raise InputError(f"{where}: norm has no key {key!r}; allowed: {', '.join(KEYS)}")
    options = update.get("options") or {}
    if not isinstance(options, dict):
        raise InputError(f"{where}: norm.options is {options!r}; use a mapping such as {{scale: 2}}")
    if "name" in update and update["name"] != norm["name"]:
        norm["name"], norm["options"] = update["name"], {}
    norm["options"] = {**norm["options"], **options}
    norm["sites"] = update.get("sites", norm["sites"])
