"""A study as its YAML says it, and the runs that it is made of: each a command that a person could type."""

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
from app.norms import NormError, NormSpec

TRAIN = Path(__file__).parents[2] / "train.py"
_LARGEST_SEED = 2**32 - 1  # that Lightning takes
_NAMES_OF_RUNS = ("config", "norm", "seed_everything", "run_root", "ckpt_path")  # what a study says itself


@dataclass(frozen=True)
class Trial:
    """One run: a config with a norm and a seed.

    Args:
        config: path of the config.
        norm: the norm, its options and its sites.
        seed: of --seed_everything.
        root: its --run_root, which no other trial has; it holds the run's folder, log.txt and what failed.
        arguments: of train.py fit, all of them.
    """

    config: str
    norm: NormSpec
    seed: int
    root: Path
    arguments: tuple[str, ...]

    @property
    def name(self) -> str:
        """For tables and logs."""
        return f"{Path(self.config).stem} {self.norm.label} seed {self.seed}"

    @property
    def log(self) -> Path:
        """What its runs print, one after the other."""
        return self.root / "log.txt"

    @property
    def command(self) -> str:
        """The line to type; also for any batch system."""
        return shlex.join(["python", "train.py", "fit", *self.arguments])


@dataclass(frozen=True)
class Study:
    """What a study's YAML says.

    Args:
        name: of the study; part of its folder.
        configs: paths of configs of train.py, each a task with its data.
        norms: names, or mappings of name, options and sites.
        seeds: of --seed_everything; runs of one seed are paired.
        baseline: the norm, one of `norms`, that the others are compared with.
        overrides: settings of train.py for all runs, such as {trainer.max_epochs: 3}.
        retries: how often a failed run is tried again.
    """

    name: str
    configs: tuple[str, ...]
    norms: tuple[NormSpec, ...]
    seeds: tuple[int, ...]
    baseline: NormSpec
    overrides: dict[str, Any]
    retries: int = 1

    def trials(self, root: Path) -> list[Trial]:
        """All runs, seed by seed, so that a study that is stopped has compared all norms on the first seeds.

        Args:
            root: folder of all studies.
        """
        return [
            self._trial(config, norm, seed, root)
            for seed in self.seeds
            for config in self.configs
            for norm in self.norms
        ]

    def folder(self, root: Path) -> Path:
        """The study's own."""
        return root / self.name

    def _trial(self, config: str, norm: NormSpec, seed: int, root: Path) -> Trial:
        arguments = ["--config", config, "--norm", norm.name]
        for option, value in norm.options.items():
            arguments += [f"--norm.options.{option}", _written(value)]
        if norm.sites != "all":
            arguments += ["--norm.sites", _written(norm.sites)]
        arguments += ["--seed_everything", str(seed)]
        for key, value in self.overrides.items():
            arguments += [f"--{key}", _written(value)]
        # settings that change, change the folder: a run that was made with others is none of this study any more
        digest = hashlib.sha256(json.dumps([arguments, _text_of(Path(config))]).encode())
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
    content = read_settings(path, str(path), f"give a study, with the keys {', '.join(_keys())}")
    for key in content:
        if key not in _keys():
            hint = did_you_mean(str(key), _keys())
            raise InputError(f"{path}: unknown key {key!r}{hint} allowed: {', '.join(_keys())}")
    for key in ("configs", "norms", "seeds"):
        if not isinstance(content.get(key), list) or not content[key]:
            raise InputError(f"{path}: {key} is {content.get(key)!r}; allowed: a list with at least one entry")
    norms = tuple(_norm(path, entry) for entry in content["norms"])
    baseline = _norm(path, content.get("baseline", content["norms"][0]))
    overrides = {} if content.get("overrides") is None else content["overrides"]
    if not isinstance(overrides, dict):
        raise InputError(f"{path}: overrides is {overrides!r}; give a mapping such as {{trainer.max_epochs: 3}}")
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
    keys = [field.name for field in fields(NormSpec)]
    settings = {"name": entry} if isinstance(entry, str) else entry
    if not isinstance(settings, dict) or "name" not in settings or not set(settings) <= set(keys):
        raise InputError(f"{path}: norm {entry!r}; allowed: a name, or a mapping of {', '.join(keys)}")
    try:
        return NormSpec(**settings)
    except NormError as error:
        raise InputError(f"{path}: norm {entry!r}: {error}") from error


def _check(path: Path, study: Study) -> None:
    if not isinstance(study.name, str) or not re.fullmatch(r"[^./\0][^/\0]*", study.name):
        raise InputError(
            f"{path}: name is {study.name!r}; it names a folder: allowed are names without / and first dot"
        )
    for config in study.configs:
        if not isinstance(config, str) or "\0" in config or not Path(config).is_file():
            raise InputError(f"{path}: config {config!r}: no such file; paths are from where the study is started")
        read_settings(Path(config), config, "give a config of train.py, with keys such as norm, data and model")
    for seed in study.seeds:
        if type(seed) is not int or not 0 <= seed <= _LARGEST_SEED:  # a bool is an int too
            raise InputError(f"{path}: seed {seed!r}; allowed: whole numbers from 0 to {_LARGEST_SEED}")
    if type(study.retries) is not int or study.retries < 0:
        raise InputError(f"{path}: retries is {study.retries!r}; allowed: whole numbers from 0")
    for key, value in study.overrides.items():
        try:
            _written(value)
        except TypeError as error:  # YAML knows dates, sets and bytes, and a command line does not
            raise InputError(f"{path}: overrides: {key} is {value!r}, no plain value; put it into quotes") from error
    labels = [norm.label for norm in study.norms]
    for what, entries in (
        ("norms", labels),
        ("seeds", study.seeds),
        ("configs", [Path(c).stem for c in study.configs]),
    ):
        twice = sorted({str(entry) for entry in entries if list(entries).count(entry) > 1})
        if twice:
            raise InputError(f"{path}: {what} names {', '.join(twice)} twice; give each once")
    if study.baseline.label not in labels:
        raise InputError(f"{path}: baseline {study.baseline.label} is none of the norms; allowed: {', '.join(labels)}")
    for key in study.overrides:
        if key.split(".")[0] in _NAMES_OF_RUNS:
            raise InputError(f"{path}: overrides names {key}, which the study sets itself; leave it out")


def _flat(settings: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as flags: {trainer: {max_epochs: 3}} is trainer.max_epochs 3."""
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
