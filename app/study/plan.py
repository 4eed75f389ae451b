"""A study as its YAML describes it, and its trials, each of which is a command that a user could type."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from app.errors import InputError
from app.errors.did_you_mean import did_you_mean
from app.errors.yaml_file import read_settings
from app.installation import TYPED, config_path
from app.norms import NormError, NormSpec

_LARGEST_SEED = 2**32 - 1  # that Lightning accepts
_OF_ONE_NORM = ("by_role", "weight_decay", "lr_multiplier", "freeze")  # keys of a norm that a study sets itself
_SET_BY_THE_STUDY = ("config", "norm", "seed_everything", "run_root", "ckpt_path")


@dataclass(frozen=True)
class Trial:
    """One run: a config with a norm and a seed.

    Args:
        config: path of the config.
        norm: the norm, its options and its sites.
        seed: value of --seed_everything.
        root: its own --run_root, which holds the run's folder, log.txt and the list of failures.
        arguments: all arguments of fit.
    """

    config: str
    norm: NormSpec
    seed: int
    root: Path
    arguments: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the trial in tables and logs."""
        return f"{Path(self.config).stem} {self.norm.label} seed {self.seed}"

    @property
    def log(self) -> Path:
        """The file that the output of all its attempts is appended to."""
        return self.root / "log.txt"

    @property
    def command(self) -> str:
        """The command line of the trial, for a shell or a batch system."""
        return shlex.join([*TYPED, "fit", *self.arguments])


@dataclass(frozen=True)
class Study:
    """The content of a study's YAML.

    Args:
        name: name of the study, and of its folder.
        configs: paths of configs, each a task with its data.
        norms: names, or mappings and lists of rules as `norm` in a config.
        seeds: values of --seed_everything; runs with the same seed are paired.
        baseline: the one of `norms` that the others are compared with.
        overrides: settings for all runs, such as {trainer.max_epochs: 3}.
        retries: how often a failed run is retried.
    """

    name: str
    configs: tuple[str, ...]
    norms: tuple[NormSpec, ...]
    seeds: tuple[int, ...]
    baseline: NormSpec
    overrides: dict[str, Any]
    retries: int = 1

    def trials(self, root: Path) -> list[Trial]:
        """All trials, seed by seed, so that an interrupted study has compared all norms on the first seeds.

        Args:
            root: the folder of all studies.
        """
        return [
            self._trial(config, norm, seed, root)
            for seed in self.seeds
            for config in self.configs
            for norm in self.norms
        ]

    def folder(self, root: Path) -> Path:
        """The folder of the study."""
        return root / self.name

    def _trial(self, config: str, norm: NormSpec, seed: int, root: Path) -> Trial:
        arguments = ["--config", config, *_flags(norm)]
        arguments += ["--seed_everything", str(seed)]
        for key, value in self.overrides.items():
            arguments += [f"--{key}", _written(value)]
        # changed settings change the folder: a run with other settings does not belong to this study any more
        digest = hashlib.sha256(json.dumps([arguments, _text_of(config_path(config))]).encode())
        place = self.folder(root) / Path(config).stem / norm.label / f"seed{seed}-{digest.hexdigest()[:6]}"
        # `last` starts from the beginning where there is no checkpoint: one command starts a run and resumes it
        return Trial(config, norm, seed, place, (*arguments, "--run_root", str(place), "--ckpt_path", "last"))


def _text_of(config: Path) -> str:
    """The text of a config and of the files that it names, as in `model: FILE.yaml`."""
    texts = [config.read_text(encoding="utf-8")]
    for name in read_settings(config, str(config), "give a config of train.py").values():
        if isinstance(name, str) and name.endswith(".yaml"):
            read_settings(config.parent / name, f"{config}: {name}", "give class_path and init_args")
            texts.append((config.parent / name).read_text(encoding="utf-8"))
    return "".join(texts)


def read_study(path: Path) -> Study:
    """Read a study's YAML.

    Raises:
        InputError: for a file that cannot be read, and for each key that is unknown, missing or wrong.
    """
    content = read_settings(path, str(path), f"expected a study, with the keys {', '.join(_keys())}")
    for key in content:
        if key not in _keys():
            hint = did_you_mean(str(key), _keys())
            raise InputError(f"{path}: unknown key {key!r}{hint} allowed: {', '.join(_keys())}")
    for key in ("configs", "norms", "seeds"):
        if not isinstance(content.get(key), list) or not content[key]:
            raise InputError(f"{path}: {key} is {content.get(key)!r}; must be a list with at least one entry")
    norms = tuple(_norm(path, entry) for entry in content["norms"])
    baseline = _norm(path, content.get("baseline", content["norms"][0]))
    overrides = {} if content.get("overrides") is None else content["overrides"]
    if not isinstance(overrides, dict):
        raise InputError(f"{path}: overrides is {overrides!r}; must be a mapping such as {{trainer.max_epochs: 3}}")
    study = Study(
        name=content.get("name", path.stem),
        configs=tuple(content["configs"]),
        norms=norms,
        seeds=tuple(content["seeds"]),
        baseline=baseline,
        overrides=dict(_flat(overrides)),
        retries=content.get("retries", 1),
    )
    _check(path, study)
    return study


def _keys() -> list[str]:
    return [field.name for field in fields(Study)]


def _norm(path: Path, entry: Any) -> NormSpec:
    try:
        return NormSpec.parse(entry)
    except NormError as error:
        raise InputError(f"{path}: norm {entry!r}: {error}") from error


def _flags(norm: NormSpec) -> list[str]:
    """The flags of train.py for a norm: short ones where they can say it, else the whole mapping."""
    if not norm.is_plain:
        return ["--norm", _written(norm.to_dict())]
    (rule,) = norm.rules
    flags = ["--norm", rule.name]
    for option, value in rule.options.items():
        flags += [f"--norm.options.{option}", _written(value)]
    if rule.sites != "all":
        flags += ["--norm.sites", _written(rule.sites)]
    return flags


def _check(path: Path, study: Study) -> None:
    if not isinstance(study.name, str) or not re.fullmatch(r"[^./\0][^/\0]*", study.name):
        raise InputError(f"{path}: name is {study.name!r}; must be a folder name, without / and without a leading dot")
    for config in study.configs:
        if not isinstance(config, str) or "\0" in config or not config_path(config).is_file():
            raise InputError(f"{path}: config {config!r}: no such file; paths are relative to the current directory")
        content = read_settings(
            config_path(config), config, "expected a config, with keys such as norm, data and model"
        )
        of_norm = content.get("norm")
        kept = [key for key in _OF_ONE_NORM if isinstance(of_norm, dict) and key in of_norm]
        if kept:
            raise InputError(
                f"{path}: config {config} sets norm.{kept[0]}, which would also hold for a norm of the study with its "
                "name; omit it there, and set it in the norms of the study that it is meant for"
            )
    for seed in study.seeds:
        if type(seed) is not int or not 0 <= seed <= _LARGEST_SEED:  # a bool is an int too
            raise InputError(f"{path}: seed {seed!r}; must be a whole number from 0 to {_LARGEST_SEED}")
    if type(study.retries) is not int or study.retries < 0:
        raise InputError(f"{path}: retries is {study.retries!r}; must be a whole number >= 0")
    for key, value in study.overrides.items():
        try:
            _written(value)
        except TypeError as error:  # YAML has dates, sets and bytes; a command line has not
            raise InputError(f"{path}: overrides: {key} is {value!r}, not a plain value; put it into quotes") from error
    labels = [norm.label for norm in study.norms]
    stems = [Path(config).stem for config in study.configs]
    for what, entries in (("norms", labels), ("seeds", study.seeds), ("configs", stems)):
        twice = sorted({str(entry) for entry in entries if list(entries).count(entry) > 1})
        if twice:
            raise InputError(f"{path}: {what} names {', '.join(twice)} twice; list each once")
    if study.baseline.label not in labels:
        raise InputError(
            f"{path}: baseline {study.baseline.label} is not among the norms; must be one of {', '.join(labels)}"
        )
    for key in study.overrides:
        if key.split(".")[0] in _SET_BY_THE_STUDY:
            raise InputError(f"{path}: overrides names {key}, which the study sets itself; omit it")


def _flat(settings: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as flags: {trainer: {max_epochs: 3}} yields trainer.max_epochs, 3."""
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
