"""A study as its YAML says it, and the runs that it is made of: each a command that a person could type."""

from __future__ import annotations

import difflib
import hashlib
import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from app.errors import InputError
from app.norms import NormError, NormSpec

TRAIN = Path(__file__).parents[2] / "train.py"
_NAMES_OF_RUNS = ("config", "norm", "seed_everything", "run_root", "ckpt_path")  # what a study says itself


@dataclass(frozen=True)
class Cell:
    """One run: a config with a norm and a seed.

    Args:
        config: path of the config.
        norm: the norm, its options and its sites.
        seed: of --seed_everything.
        root: its --run_root, which no other cell has; it holds the run's folder, log.txt and what failed.
        arguments: of train.py fit, all of them.
    """

    config: str
    norm: NormSpec
    seed: int
    root: Path
    arguments: tuple[str, ...]

    @property
    def norm_label(self) -> str:
        """Signature and, where it is not put everywhere, sites."""
        return label_of(self.norm)

    @property
    def name(self) -> str:
        """For tables and logs."""
        return f"{Path(self.config).stem} {self.norm_label} seed {self.seed}"

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

    def cells(self, root: Path) -> list[Cell]:
        """All runs, seed by seed, so that a study that is stopped has compared all norms on the first seeds.

        Args:
            root: folder of all studies.
        """
        return [
            self._cell(config, norm, seed, root)
            for seed in self.seeds
            for config in self.configs
            for norm in self.norms
        ]

    def folder(self, root: Path) -> Path:
        """The study's own."""
        return root / self.name

    def _cell(self, config: str, norm: NormSpec, seed: int, root: Path) -> Cell:
        arguments = ["--config", config, "--norm", norm.name]
        for option, value in norm.options.items():
            arguments += [f"--norm.options.{option}", _written(value)]
        if norm.sites != "all":
            arguments += ["--norm.sites", _written(norm.sites)]
        arguments += ["--seed_everything", str(seed)]
        for key, value in self.overrides.items():
            arguments += [f"--{key}", _written(value)]
        # settings that change, change the folder: a run that was made with others is none of this study any more
        digest = hashlib.sha256(json.dumps([arguments, Path(config).read_text(encoding="utf-8")]).encode())
        place = self.folder(root) / Path(config).stem / label_of(norm) / f"seed{seed}-{digest.hexdigest()[:6]}"
        return Cell(config, norm, seed, place, (*arguments, "--run_root", str(place)))


def label_of(norm: NormSpec) -> str:
    """Signature and, where it is not put everywhere, sites: what tells a study's norms apart."""
    return norm.signature if norm.sites == "all" else f"{norm.signature}@{norm.sites_label}"


def read_study(path: Path) -> Study:
    """Read a study's YAML.

    Raises:
        InputError: for a file that cannot be read, and for each key that is unknown, missing or wrong.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the YAML file of a study") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no settings; a YAML with {', '.join(_keys())} is expected")
    for key in content:
        if key not in _keys():
            near = difflib.get_close_matches(str(key), _keys(), n=1)
            hint = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(_keys())}"
            raise InputError(f"{path}: unknown key {key!r}; {hint}")
    for key in ("configs", "norms", "seeds"):
        if not isinstance(content.get(key), list) or not content[key]:
            raise InputError(f"{path}: {key} is {content.get(key)!r}; allowed: a list with at least one entry")
    norms = tuple(_norm(path, entry) for entry in content["norms"])
    baseline = _norm(path, content.get("baseline", content["norms"][0]))
    study = Study(
        name=str(content.get("name", path.stem)),
        configs=tuple(map(str, content["configs"])),
        norms=norms,
        seeds=tuple(content["seeds"]),
        baseline=baseline,
        overrides=dict(_flat(content.get("overrides") or {})),
        retries=content.get("retries", 1),
    )
    _check(path, study)
    return study


def _keys() -> list[str]:
    return [field.name for field in fields(Study)]


def _norm(path: Path, entry: Any) -> NormSpec:
    try:
        return NormSpec(**entry) if isinstance(entry, dict) else NormSpec(str(entry))
    except (NormError, TypeError) as error:
        raise InputError(f"{path}: norm {entry!r}: {error}") from error


def _check(path: Path, study: Study) -> None:
    if not study.name or "/" in study.name or study.name.startswith("."):
        raise InputError(
            f"{path}: name is {study.name!r}; it names a folder: allowed are names without / and first dot"
        )
    for config in study.configs:
        if not Path(config).is_file():
            raise InputError(f"{path}: config {config}: no such file; paths are from where the study is started")
    for seed in study.seeds:
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise InputError(f"{path}: seed {seed!r}; allowed: whole numbers from 0")
    if not isinstance(study.retries, int) or study.retries < 0:
        raise InputError(f"{path}: retries is {study.retries!r}; allowed: whole numbers from 0")
    labels = [label_of(norm) for norm in study.norms]
    for what, entries in (
        ("norms", labels),
        ("seeds", study.seeds),
        ("configs", [Path(c).stem for c in study.configs]),
    ):
        twice = sorted({str(entry) for entry in entries if list(entries).count(entry) > 1})
        if twice:
            raise InputError(f"{path}: {what} names {', '.join(twice)} twice; give each once")
    if label_of(study.baseline) not in labels:
        raise InputError(f"{path}: baseline {label_of(study.baseline)} is none of the norms: {', '.join(labels)}")
    for key in study.overrides:
        if key.split(".")[0] in _NAMES_OF_RUNS:
            raise InputError(f"{path}: overrides names {key}, which the study sets itself; leave it out")


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as flags: {trainer: {max_epochs: 3}} is trainer.max_epochs 3."""
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
