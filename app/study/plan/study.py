"""Study, its conditions, variants and trials: what a study's YAML says, in types."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from app.backbones.placement import PlacementSpec
from app.installation import TYPED
from app.norms import NormSpec
from app.study.plan.flags import (
    Settings,
    bracketed,
    digest,
    folder_name,
    in_brief,
    norm_flags,
    placement_flags,
    setting_flags,
    value_in,
)

Phase = Literal["score", "tune"]
Control = Literal["null-twin", "broken"]
SOURCES = ("init", "order", "dropout", "split")  # of variance, each with a seed of its own
ALWAYS_VARIED = SOURCES[:3]  # where the plan does not say otherwise
_TO_THE_TWIN = 2**31  # from a seed of dropout to that of the null twin: no study lists both


@dataclass(frozen=True)
class Variant:
    """What a study compares: a norm and a placement with settings of their own; a row of its tables.

    Args:
        norm: the norm, its options and its sites.
        placement: where the norms are.
        overrides: settings that only its runs have.
        control: what the variant is planted for, if it is: a null twin, which is the baseline with other dropout masks,
            should not differ from it, and a broken norm should be found worse.
    """

    norm: NormSpec
    placement: PlacementSpec = PlacementSpec()
    overrides: Settings = field(default_factory=dict, hash=False)
    control: Control | None = None

    @property
    def label(self) -> str:
        """The name in paths and tables: that of the norm alone where the placement is native."""
        own = [self.control] if self.control else in_brief(self.overrides)
        return f"{self.norm.label}{self.placement.suffix}{bracketed(own)}"

    @property
    def is_plain(self) -> bool:
        """Whether it is one norm with nothing but options and sites, as in published tables."""
        return self.norm.is_plain and self.placement.is_native and not self.overrides and self.control is None


@dataclass(frozen=True)
class Condition:
    """What all runs of a table share: the config and its settings, and a value of each axis.

    Args:
        name: of the entry of `configs`.
        files: its config files; later ones win.
        overrides: the entry's own settings.
        axes: a value for each key of the axes that are crossed.
        at: where the study tunes, at which of the tuned values its runs are, in words.
    """

    name: str
    files: tuple[str, ...]
    overrides: Settings = field(default_factory=dict, hash=False)
    axes: Settings = field(default_factory=dict, hash=False)
    at: str = ""

    @property
    def label(self) -> str:
        """The name in tables."""
        return ", ".join([self.name, *in_brief(self.axes), *([self.at] if self.at else [])])


@dataclass(frozen=True)
class Tuning:
    """Which settings are tuned for each variant instead of being crossed.

    Args:
        axes: for each tuned axis its points, each a value for each of its keys.
        seeds: of the runs that choose, none of which is reported.
        grow: how often an axis is extended by a step while a variant's best is its first or last point.
    """

    axes: tuple[tuple[Settings, ...], ...]
    seeds: tuple[int, ...]
    grow: int = 2

    @property
    def keys(self) -> tuple[str, ...]:
        """The tuned settings."""
        return tuple(key for axis in self.axes for key in axis[0])


@dataclass(frozen=True)
class Trial:
    """One run: a variant with a seed in a condition.

    Args:
        condition: the config, with its settings.
        variant: norm and placement.
        seed: value of --seed_everything; runs with the same seed are paired.
        root: its own --run_root, which holds the run's folder, log.txt and the list of failures. Trials with the same
            arguments have the same root: they are one run.
        arguments: all arguments of fit.
        phase: score for runs that are compared, tune for those that choose values of tuned settings.
        tuned: its values of the tuned settings.
        result: result.json of its run, where that is known without the run folder, which may be gone.
    """

    condition: Condition
    variant: Variant
    seed: int
    root: Path
    arguments: tuple[str, ...]
    phase: Phase = "score"
    tuned: Settings = field(default_factory=dict, hash=False)
    result: Mapping[str, object] | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """The name of the trial in tables and logs."""
        at = f" tuning {','.join(in_brief(self.tuned))}" if self.phase == "tune" else ""
        return f"{self.condition.label} {self.variant.label}{at} seed {self.seed}"

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
        conditions: each entry of `configs` at each combination of the values of the axes that are not tuned.
        variants: the rows of the tables: all norms in each placement, and the controls.
        seeds: the planned values of --seed_everything; runs with the same seed are paired.
        baseline: the variant that the others are compared with.
        overrides: settings for all runs, such as {trainer.max_epochs: 3}.
        retries: how often a failed run is retried.
        looks: numbers of seeds after which the study looks whether a comparison is decided; the last is all seeds.
        vary: what differs from seed to seed; all else has the first seed.
        folds: number of folds of the data, of which each seed tests one in turn; None for the split of the config.
        margin: by metric, the smallest difference that matters, in the unit of tables (points where it is a share).
        comparisons: pairs of variants, the first of which is compared with the second.
        claims: names of files in configs/claims, or paths.
        tuning: what is tuned; None where nothing is.
    """

    name: str
    conditions: tuple[Condition, ...]
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    baseline: Variant
    overrides: Settings = field(default_factory=dict)
    retries: int = 1
    looks: tuple[int, ...] = ()
    vary: tuple[str, ...] = ALWAYS_VARIED
    folds: int | None = None
    margin: Mapping[str, float] = field(default_factory=dict)
    comparisons: tuple[tuple[Variant, Variant], ...] = ()
    claims: tuple[str, ...] = ("paper",)
    tuning: Tuning | None = None

    @property
    def norms(self) -> list[NormSpec]:
        """All norms, each once."""
        return list(dict.fromkeys(variant.norm for variant in self.variants))

    @property
    def placements(self) -> list[PlacementSpec]:
        """All placements, each once."""
        return list(dict.fromkeys(variant.placement for variant in self.variants))

    @property
    def controls(self) -> list[Variant]:
        """The planted variants, whose answer is known before the study."""
        return [variant for variant in self.variants if variant.control]

    def trials(self, root: Path) -> list[Trial]:
        """A trial of each variant in each condition, seed by seed, so that an interrupted study has compared all.

        Args:
            root: the folder of all studies.
        """
        return [
            self.trial(root, condition, variant, seed)
            for seed in self.seeds
            for condition in self.conditions
            for variant in self.variants
        ]

    def trial(
        self,
        root: Path,
        condition: Condition,
        variant: Variant,
        seed: int,
        phase: Phase = "score",
        tuned: Settings | None = None,
    ) -> Trial:
        """One trial; its folder has a digest of its arguments and of what its configs say.

        Args:
            root: the folder of all studies.
            condition: the config, with its settings.
            variant: norm and placement.
            seed: one of the seeds of the phase.
            phase: score, or tune.
            tuned: values of the tuned settings.
        """
        at = {} if tuned is None else tuned
        arguments = [word for file in condition.files for word in ("--config", file)]
        arguments += [*norm_flags(variant.norm), *placement_flags(variant.placement), "--seed_everything", str(seed)]
        settings = {**self.overrides, **condition.overrides, **condition.axes, **variant.overrides, **at}
        arguments += [*setting_flags(settings), *self._seed_flags(variant, seed, phase)]
        if phase == "tune":
            arguments += ["--test_after_fit", "false"]  # the choice is made on validation alone
        # changed settings change the folder: a run with other settings does not belong to this study any more
        name = f"seed{seed}-{digest(arguments, condition.files)}"
        where = ",".join([condition.name, *in_brief({**condition.axes, **at})])
        place = self.folder(root) / folder_name(where) / folder_name(variant.label) / name
        # `last` starts from the beginning where there is no checkpoint: one command starts a run and resumes it
        arguments += ["--run_root", str(place), "--ckpt_path", "last"]
        return Trial(condition, variant, seed, place, tuple(arguments), phase, at)

    def common(self, condition: Condition) -> Settings:
        """The value of each tuned setting that the overrides or the config itself have: None where they do not say.

        At these all variants are compared, too.
        """
        own = {**self.overrides, **condition.overrides}
        found: dict[str, Any] = {}
        for key in self.tuning.keys if self.tuning else ():
            replaced = any(key.startswith(f"{group}.") for group in own)  # as by {model: FILE.yaml}
            found[key] = own[key] if key in own else None if replaced else value_in(condition.files, key)
        return found

    def folder(self, root: Path) -> Path:
        """The folder of the study."""
        return root / self.name

    def _seed_flags(self, variant: Variant, seed: int, phase: Phase) -> list[str]:
        """What is not varied has the first seed; folds are tested in turn, and a varied split is one for all folds."""
        seeds = self.tuning.seeds if phase == "tune" and self.tuning else self.seeds
        own = {source: seeds[0] for source in ALWAYS_VARIED if source not in self.vary}
        if variant.control == "null-twin":
            own["dropout"] = (own.get("dropout", seed) + _TO_THE_TWIN) % 2**32
        flags = [word for source, value in own.items() for word in (f"--{source}_seed", str(value))]
        index, folds = seeds.index(seed), self.folds or 1
        if "split" in self.vary:
            flags += ["--data.split_seed", str(seeds[index - index % folds])]
        if self.folds is not None:
            flags += ["--data.folds", str(folds), "--data.fold", str(index % folds)]
        return flags
