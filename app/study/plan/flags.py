"""Norms, placements and settings as flags of train.py, and in brief for labels."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from app.backbones.placement import PlacementSpec
from app.errors.yaml_file import parse_yaml
from app.installation import BASE_CONFIG, config_path
from app.norms import NormSpec

Settings = Mapping[str, Any]  # such as {"trainer.max_epochs": 3}
_SCIENTIFIC = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")  # a number for train.py; for PyYAML text, if it has no dot
_LONGEST_VALUE = 40  # characters in a label
_LONGEST_FOLDER = 200  # bytes; file systems take 255


def norm_flags(norm: NormSpec) -> list[str]:
    """The flags of train.py for a norm: short ones where they can say it, else a whole mapping."""
    if not norm.is_plain:
        return ["--norm", written(norm.to_dict())]
    (rule,) = norm.rules
    flags = ["--norm", rule.name]
    for option, value in rule.options.items():
        flags += [f"--norm.options.{option}", written(value)]
    if rule.sites != "all":
        flags += ["--norm.sites", written(rule.sites)]
    return flags


def placement_flags(placement: PlacementSpec) -> list[str]:
    """The flags of train.py for a placement, none for native."""
    flags = [] if placement.is_native else ["--placement", placement.name]
    for option, value in placement.options.items():
        flags += [f"--placement.options.{option}", written(value)]
    return flags


def setting_flags(settings: Settings) -> list[str]:
    """The flags of train.py for settings."""
    return [word for key, value in settings.items() for word in (f"--{key}", written(value))]


def written(value: Any) -> str:
    """A value as a command line has it.

    Raises:
        TypeError: for what only YAML has, such as a date.
    """
    return value if isinstance(value, str) else json.dumps(value)


def flat(settings: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as flags: {trainer: {max_epochs: 3}} yields trainer.max_epochs, 3."""
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            name = re.sub(r"^(model|data)\.init_args\.", r"\1.", f"{prefix}{key}")  # one spelling for one setting
            yield name, number_in(value)


def number_in(value: Any) -> Any:
    """The value, or the number that it is in train.py: PyYAML reads 1e-4 as text."""
    return float(value) if isinstance(value, str) and _SCIENTIFIC.fullmatch(value) else value


def in_brief(settings: Settings) -> list[str]:
    """Each setting by the last word of its key, such as lr=0.001, or by its whole key where two share this word."""
    short = [key.rpartition(".")[2] for key in settings]
    names = short if len(set(short)) == len(short) else list(settings)
    return [f"{name}={_short(value)}" for name, value in zip(names, settings.values(), strict=True)]


def bracketed(words: Sequence[str]) -> str:
    """Words at the end of a label, such as [lr=0.001]; nothing without any."""
    return f"[{','.join(words)}]" if words else ""


def folder_name(label: str) -> str:
    """A label as the name of a folder: a digest ends it where file systems would refuse its length."""
    if len(label.encode()) <= _LONGEST_FOLDER:
        return label
    return f"{label[:80]}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    text = quote(written(value), safe=" +,:[]{}()") if isinstance(value, str) else written(value).replace('"', "")
    if len(text) <= _LONGEST_VALUE and "/" not in text:
        return text
    return hashlib.sha256(written(value).encode()).hexdigest()[:8]


def digest(arguments: Sequence[str], files: Sequence[str]) -> str:
    """What tells a run from one with other arguments or other content of its configs."""
    texts = [BASE_CONFIG.read_text(encoding="utf-8"), *(_text_of(config_path(file)) for file in files)]
    return hashlib.sha256(json.dumps([list(arguments), *texts]).encode()).hexdigest()[:6]


def _text_of(config: Path) -> str:
    """The text of a config and of the files that it names, as in `model: FILE.yaml`."""
    text = config.read_text(encoding="utf-8")
    named = [config.parent / name for name in _files_in(text, str(config))]
    return "".join([text, *(path.read_text(encoding="utf-8") for path in named)])


def value_in(files: Sequence[str], key: str) -> Any:
    """What configs say of a setting, the last one that does; None where none does.

    A file that names the class of its model or data starts from the defaults of that class.
    """
    group, *path = key.split(".")
    found = None
    for file in map(config_path, files):
        content = parse_yaml(file.read_text(encoding="utf-8"), str(file))
        value = content.get(group)
        if isinstance(value, str) and value.endswith(".yaml"):
            value = parse_yaml((file.parent / value).read_text(encoding="utf-8"), value)
        if group in ("model", "data") and isinstance(value, dict):
            found = None if "class_path" in value else found
            value = value.get("init_args")
        for word in path:
            value = value.get(word) if isinstance(value, dict) else None
        found = found if value is None else number_in(value)
    return found


@lru_cache
def _files_in(text: str, name: str) -> list[str]:
    """The files that a config names; all trials of a study ask for the same ones."""
    return [value for value in parse_yaml(text, name).values() if isinstance(value, str) and value.endswith(".yaml")]
