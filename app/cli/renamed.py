"""Settings that have a new name: the old one is accepted for one release, on the command line and in YAML."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

_NEW_NAMES = {  # as paths in a YAML; on the command line `init_args` may be omitted
    "watch_norms_every_steps": "norm_diagnostics_every_n_steps",
    "pictures": "plots",
    "allow_other_processes": "allow_world_size_change",
    "model.init_args.decoding.share": "model.init_args.decoding.fraction",
    "model.init_args.val_decoding.share": "model.init_args.val_decoding.fraction",
}
_NEW_FLAGS = {old.replace(".init_args", ""): new.replace(".init_args", "") for old, new in _NEW_NAMES.items()}

_load_yaml = get_loader("yaml")

log = logging.getLogger(__name__)


def with_new_flags(arguments: Sequence[str]) -> list[str]:
    """The command line with new names in the place of old ones."""
    renamed = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        old = flag.removeprefix("--").replace(".init_args", "")
        if flag.startswith("--") and old in _NEW_FLAGS:
            _tell(old, _NEW_FLAGS[old])
            flag = f"--{_NEW_FLAGS[old]}"
        renamed.append(f"{flag}{equals}{value}")
    return renamed


def accept_old_names_in_yaml() -> None:
    """Have jsonargparse, which reads the YAMLs, see new names in the place of old ones."""

    def load(text: str) -> Any:
        value = _load_yaml(text)
        if isinstance(value, dict):
            for old, new in _NEW_NAMES.items():
                _rename(value, old, new)
        return value

    set_loader("yaml", load, exceptions=(yaml.YAMLError,))


def _rename(settings: dict[Any, Any], old: str, new: str) -> None:
    *path, key = old.split(".")
    place: Any = settings
    for name in path:
        place = place.get(name) if isinstance(place, dict) else None
    if isinstance(place, dict) and key in place:
        _tell(old, new)
        place.setdefault(new.rpartition(".")[2], place.pop(key))


def _tell(old: str, new: str) -> None:
    log.warning("%s is now called %s; the old name is accepted for one release", old, new)
