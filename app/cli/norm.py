"""--norm on the command line and in YAML: many ways to say it, one meaning.

`--norm NAME`, `--norm.name NAME`, `--norm.options.KEY VALUE`, `--norm.sites WORD-OR-LIST`, and in a YAML `norm: NAME`
or `norm: {name, options, sites}`. Later ones win, key by key; naming another norm drops the options of the one
before. All of it is folded into a single `--norm {...}` before the parser sees it, so that the norm is checked first.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from app.errors import InputError
from app.errors.yaml_file import parse_yaml, read_settings
from app.norms import NormSpec

KEYS = ("name", "options", "sites")
_SECTIONS = {
    "model": "{init_args: {pooling: mean}}",
    "data": "{init_args: {source: FILE}}",
    "trainer": "{max_epochs: 3}",
}
DEFAULT = "layernorm"  # the norm when neither a flag nor a YAML names one


def fold_norm(arguments: Sequence[str], base_configs: Sequence[Path]) -> list[str]:
    """The arguments with all that they and their YAMLs say of the norm put into one `--norm` at the end.

    Args:
        arguments: the command line, without the program's name.
        base_configs: YAML files read before those of the command line.

    Raises:
        InputError: for a flag without a value, a file that is no YAML, or a `norm` that is neither name nor mapping.
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
            rest += [flag, value]
            _merge(norm, _norm_of(Path(value)), value)
    if not {"fit", "validate", "test", "predict"} & set(rest) or any(map(_asks_for_help, rest)):
        return rest
    spec = NormSpec(**norm).to_dict()
    return [*rest, "--norm", yaml.safe_dump(spec, default_flow_style=True, width=2**20).strip()]


def _asks_for_help(argument: str) -> bool:
    flag = argument.partition("=")[0]
    return flag in ("-h", "--help") or (flag.startswith("--") and flag.endswith(".help"))


def _norm_of(path: Path) -> Any:
    """What a YAML says of the norm; looks at its other sections too, whose faults the parser cannot put into words."""
    content = read_settings(path, f"--config {path}", "give settings, with keys such as norm, data, model and trainer")
    for key, example in _SECTIONS.items():
        value = content.get(key, {})
        if not (isinstance(value, dict) or (isinstance(value, str) and key != "trainer")):
            raise InputError(f"--config {path}: {key} is {value!r}; give a mapping such as {example}, or leave it out")
    if "norm" in content and content["norm"] is None:
        raise InputError(f"--config {path}: norm is empty; give a name, or leave it out (to put none, write none)")
    return content.get("norm")


def _from_flag(flag: str, value: str) -> Any:
    if not value.strip():
        raise InputError(f"{flag} is empty; give a value, or leave it out")
    try:
        parsed = parse_yaml(value, flag)
    except InputError:
        if value.lstrip()[0] in "[{":
            raise
        parsed = value  # a name, or a pattern, with signs that mean something in YAML
    parts = flag.split(".")[1:]
    if not parts:
        return "none" if parsed is None else parsed  # YAML reads `none` as text, but `null` and `~` as nothing
    if parts[0] == "options" and len(parts) == 2:
        return {"options": {parts[1]: parsed}}
    return {".".join(parts): value if parts[0] == "name" else parsed}


def _merge(norm: dict[str, Any], update: Any, where: str) -> None:
    if update is None:
        return
    if isinstance(update, str):
        update = {"name": update}
    if not isinstance(update, dict):
        raise InputError(f"{where}: norm is {update!r}; give a name, or a mapping with {', '.join(KEYS)}")
    for key in update:
        if key not in KEYS:
            raise InputError(f"{where}: norm has no key {key!r}; allowed: {', '.join(KEYS)}")
    options = update.get("options") or {}
    if not isinstance(options, dict):
        raise InputError(f"{where}: norm.options is {options!r}; give a mapping such as {{scale: 2}}")
    if "name" in update and update["name"] != norm["name"]:
        norm["name"], norm["options"] = update["name"], {}
    norm["options"] = {**norm["options"], **options}
    norm["sites"] = update.get("sites", norm["sites"])
