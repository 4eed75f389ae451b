"""A study as its YAML describes it, and its trials, each of which is a command that a user could type."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from app.backbones.placement import PlacementSpec
from app.errors import InputError
from app.errors.did_you_mean import did_you_mean
from app.errors.yaml_file import read_settings
from app.installation import TYPED, config_path
from app.norms import NATIVE, NormError, NormSpec

_LARGEST_SEED = 2**32 - 1  # that Lightning accepts
# keys of a norm in a config that outlast the flags of a trial, each with the value that adds nothing
_OUTLASTS_FLAGS = {
    "sites": "all",
    "by_role": {},
    "weight_decay": None,
    "lr_multiplier": 1,
    "freeze": [],
    "embedding_scale": None,
}
_SET_BY_THE_STUDY = ("config", "norm", "placement", "seed_everything", "run_root", "ckpt_path")


@dataclass(frozen=True)
class Variant:
    """What a study varies: norm and placement; a row of its tables.

    Args:
        norm: the norm, its options and its sites.
        placement: where the norms stand.
    """

    norm: NormSpec
    placement: PlacementSpec = PlacementSpec()

    @property
    def label(self) -> str:
        """The name in paths and tables: that of the norm alone where the placement is native."""
        return f"{self.norm.label}{self.placement.suffix}"

    @property
    def is_plain(self) -> bool:
        """Whether it is one norm with nothing but options and sites, as in published tables."""
        return self.norm.is_plain and self.placement.is_native


@dataclass(frozen=True)
class Trial:
    """One run: a config with a norm, a placement and a seed.

    Args:
        config: path of the config.
        variant: norm and placement.
        seed: value of --seed_everything.
        root: its own --run_root, which holds the run's folder, log.txt and the list of failures.
        arguments: all arguments of fit.
    """

    config: str
    variant: Variant
    seed: int
    root: Path
    arguments: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the trial in tables and logs."""
        return f"{Path(self.config).stem} {self.variant.label} seed {self.seed}"

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
        baseline: the norm and placement that the others are compared with.
        overrides: settings for all runs, such as {trainer.max_epochs: 3}.
        retries: how often a failed run is retried.
        placements: names, or mappings as `placement` in a config; each is combined with each norm.
    """

    name: str
    configs: tuple[str, ...]
    norms: tuple[NormSpec, ...]
    seeds: tuple[int, ...]
    baseline: Variant
    overrides: dict[str, Any]
    retries: int = 1
    placements: tuple[PlacementSpec, ...] = (PlacementSpec(),)

    @property
    def variants(self) -> list[Variant]:
        """The rows of the tables: all norms in each placement."""
        return [Variant(norm, placement) for placement in self.placements for norm in self.norms]

    def trials(self, root: Path) -> list[Trial]:
        """All trials, seed by seed, so that an interrupted study has compared all variants on the first seeds.

        Args:
            root: the folder of all studies.
        """
        return [
            self._trial(config, variant, seed, root)
            for seed in self.seeds
            for config in self.configs
            for variant in self.variants
        ]

    def folder(self, root: Path) -> Path:
        """The folder of the study."""
        return root / self.name

    def _trial(self, config: str, variant: Variant, seed: int, root: Path) -> Trial:
        arguments = ["--config", config, *_flags(variant)]
        arguments += ["--seed_everything", str(seed)]
        for key, value in self.overrides.items():
            arguments += [f"--{key}", _written(value)]
        # changed settings change the folder: a run with other settings does not belong to this study any more
        digest = hashlib.sha256(json.dumps([arguments, _text_of(config_path(config))]).encode())
        place = self.folder(root) / Path(config).stem / variant.label / f"seed{seed}-{digest.hexdigest()[:6]}"
        # `last` starts from the beginning where there is no checkpoint: one command starts a run and resumes it
        return Trial(config, variant, seed, place, (*arguments, "--run_root", str(place), "--ckpt_path", "last"))


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
    content.setdefault("placements", [NATIVE])
    for key in ("configs", "norms", "seeds", "placements"):
        if not isinstance(content.get(key), list) or not content[key]:
            raise InputError(f"{path}: {key} is {content.get(key)!r}; must be a list with at least one entry")
    norms = tuple(_norm(path, entry) for entry in content["norms"])
    placements = tuple(_placement(path, entry) for entry in content["placements"])
    baseline = _baseline(path, content.get("baseline", {}), norms, placements)
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
        placements=placements,
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


def _placement(path: Path, entry: Any) -> PlacementSpec:
    try:
        return PlacementSpec.parse(entry)
    except NormError as error:
        raise InputError(f"{path}: placement {entry!r}: {error}") from error


def _baseline(path: Path, entry: Any, norms: Sequence[NormSpec], placements: Sequence[PlacementSpec]) -> Variant:
    """A norm, or a mapping of norm and placement; what it omits is the first of the study."""
    if not (isinstance(entry, dict) and entry.keys() <= {"norm", "placement"}):
        entry = {"norm": entry}
    return Variant(
        _norm(path, entry["norm"]) if "norm" in entry else norms[0],
        _placement(path, entry["placement"]) if "placement" in entry else placements[0],
    )


def _flags(variant: Variant) -> list[str]:
    """The flags of train.py for a norm and a placement: short ones where they can say it, else a whole mapping."""
    placed = [] if variant.placement.is_native else ["--placement", variant.placement.name]
    for option, value in variant.placement.options.items():
        placed += [f"--placement.options.{option}", _written(value)]
    return [*_norm_flags(variant.norm), *placed]


def _norm_flags(norm: NormSpec) -> list[str]:
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
        if "placement" in content:
            raise InputError(
                f"{path}: config {config} sets placement, which the study sets itself; omit it there, and list it in "
                "placements"
            )
        of_norm = content.get("norm")
        set_there = of_norm if isinstance(of_norm, dict) else {}
        kept = [key for key, nothing in _OUTLASTS_FLAGS.items() if set_there.get(key, nothing) != nothing]
        if kept:
            raise InputError(
                f"{path}: config {config} sets norm.{kept[0]}, which would also hold for norms of the study; omit it "
                "there, and set it in the norms of the study that it is meant for"
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
    labels = [variant.label for variant in study.variants]
    norms, placements = [norm.label for norm in study.norms], [str(placement) for placement in study.placements]
    stems = [Path(config).stem for config in study.configs]
    lists = {"norms": norms, "placements": placements, "seeds": study.seeds, "configs": stems}
    for what, entries in lists.items():
        twice = sorted({str(entry) for entry in entries if list(entries).count(entry) > 1})
        if twice:
            raise InputError(f"{path}: {what} names {', '.join(twice)} twice; list each once")
    if study.baseline.label not in labels:
        listed = "norms and placements" if len(placements) > 1 else "norms"
        raise InputError(
            f"{path}: baseline {study.baseline.label} is not among the {listed}; must be one of {', '.join(labels)}"
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
