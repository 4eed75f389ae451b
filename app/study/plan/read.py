"""Reads a study's YAML, and checks each of its keys."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from app.backbones.placement import PlacementSpec
from app.errors import InputError
from app.errors.yaml_file import read_settings
from app.installation import config_path
from app.norms import NATIVE, NormError, NormSpec
from app.study.plan.flags import Settings, bracketed, flat, in_brief, number_in
from app.study.plan.keys import KEYS, Keys, names_folder
from app.study.plan.study import Condition, Study, Tuning, Variant

# keys of a norm in a config that outlast the flags of a trial, each with the value that adds nothing
_OUTLASTS_FLAGS = {
    "sites": "all",
    "by_role": {},
    "weight_decay": None,
    "lr_multiplier": 1,
    "freeze": [],
    "embedding_scale": None,
}
_BROKEN = NormSpec.parse({"name": "adanorm", "options": {"k": 0.0, "scale": 1e-6}})  # next to nothing passes it


def read_study(path: Path) -> Study:
    """Read a study's YAML.

    Raises:
        InputError: for a file that cannot be read, and for each key that is unknown, missing or wrong.
    """
    content = read_settings(path, str(path), f"expected a study, with the keys {', '.join(KEYS)}")
    return _Reader(path, content).study()


class _Reader(Keys):
    """Reads what is compared: norms, placements, configs and axes."""

    def study(self) -> Study:
        """The study, checked."""
        norms = [self._norm(entry) for entry in self.content["norms"]]
        placements = [self._placement(entry) for entry in self.content.get("placements", [NATIVE])]
        variants = [self._variant(norm, placement) for placement in placements for norm in norms]
        baseline = self._baseline(variants)
        overrides = self.settings("overrides", self.content.get("overrides", {}))
        seeds = self.seeds("seeds")
        axes = self._axes()
        tuning, crossed = self._tuning(axes, seeds)
        variants += self._controls(baseline)
        configs = [self._config(entry) for entry in self.content["configs"]]
        study = Study(
            name=self.name(),
            conditions=tuple(
                Condition(name, files, own, {key: value for point in points for key, value in point.items()})
                for name, files, own in configs
                for points in product(*crossed)
            ),
            variants=tuple(variants),
            seeds=seeds,
            baseline=baseline,
            overrides=overrides,
            retries=self.whole("retries", 1),
            looks=self.looks(len(seeds)),
            vary=self.vary(),
            folds=self.folds(len(seeds)),
            margin=self.margin(),
            comparisons=self._comparisons(variants, baseline),
            claims=self.claims(),
            tuning=tuning,
        )
        self.once("norms", [norm.label + "".join(in_brief(own)) for norm, own in norms])
        self.once("placements", [f"{placement}{''.join(in_brief(own))}" for placement, own in placements])
        self.once("norms and placements", [variant.label for variant in variants])
        self.once("configs", [name for name, _, _ in configs], "list each once, or give one of them another `name`")
        self._check_owners(study, crossed)
        for condition in study.conditions:
            for key, value in study.common(condition).items():
                if value is None:
                    raise self.wrong(
                        f"tune: config {condition.name} does not set {key}, and all variants are also compared at its "
                        f"own value; set {key} in overrides"
                    )
        return study

    def _config(self, entry: Any) -> tuple[str, tuple[str, ...], Settings]:
        """The name, files and overrides of an entry: a path, a list of paths, or a mapping."""
        named = entry if isinstance(entry, dict) else {"config": entry}
        if not ({"config"} <= named.keys() <= {"config", "name", "overrides"}):
            raise self.wrong(
                f"config {entry!r}; must be a path, a list of them, or a mapping of config, name, overrides"
            )
        files = named["config"] if isinstance(named["config"], list) and named["config"] else [named["config"]]
        for file in files:
            self._check_config(file)
        overrides = self.settings(f"config {files[-1]}: overrides", named.get("overrides", {}))
        name = named.get("name", "+".join(Path(file).stem for file in files) + bracketed(in_brief(overrides)))
        if not names_folder(name):
            raise self.wrong(f"config {files[-1]}: name is {name!r}; must be a folder name, without / and leading dot")
        return name, tuple(files), overrides

    def _check_config(self, config: Any) -> None:
        if not isinstance(config, str) or "\0" in config or not config_path(config).is_file():
            raise self.wrong(f"config {config!r}: no such file; paths are relative to the current directory")
        path = config_path(config)
        content = read_settings(path, config, "expected a config, with keys such as norm, data and model")
        for name in content.values():
            if isinstance(name, str) and name.endswith(".yaml"):
                read_settings(path.parent / name, f"{config}: {name}", "give class_path and init_args")
        if "placement" in content:
            raise self.wrong(
                f"config {config} sets placement, which the study sets itself; omit it there, and list it in placements"
            )
        of_norm = content.get("norm")
        set_there = of_norm if isinstance(of_norm, dict) else {}
        kept = [key for key, nothing in _OUTLASTS_FLAGS.items() if set_there.get(key, nothing) != nothing]
        if kept:
            raise self.wrong(
                f"config {config} sets norm.{kept[0]}, which would also hold for norms of the study; omit it there, "
                "and set it in the norms of the study that it is meant for"
            )

    def _with_overrides(self, key: str, entry: Any) -> tuple[Any, Settings]:
        """An entry without its overrides, and these; {norm: RULES, overrides: ...} gives the rules."""
        if not isinstance(entry, dict) or not entry.keys() & {"overrides", key}:
            return entry, {}
        rest = {name: value for name, value in entry.items() if name != "overrides"}
        overrides = self.settings(f"{key} {entry!r}: overrides", entry.get("overrides", {}))
        return (rest[key] if rest.keys() == {key} else rest), overrides

    def _norm(self, entry: Any) -> tuple[NormSpec, Settings]:
        norm, overrides = self._with_overrides("norm", entry)
        try:
            return NormSpec.parse(norm), overrides
        except NormError as error:
            raise self.wrong(f"norm {entry!r}: {error}") from error

    def _placement(self, entry: Any) -> tuple[PlacementSpec, Settings]:
        placement, overrides = self._with_overrides("placement", entry)
        try:
            return PlacementSpec.parse(placement), overrides
        except NormError as error:
            raise self.wrong(f"placement {entry!r}: {error}") from error

    def _variant(self, norm: tuple[NormSpec, Settings], placement: tuple[PlacementSpec, Settings]) -> Variant:
        if both := sorted(norm[1].keys() & placement[1].keys()):
            raise self.wrong(f"norm {norm[0].label} and placement {placement[0]} both override {both[0]}; omit one")
        return Variant(norm[0], placement[0], {**norm[1], **placement[1]})

    def _fitting(self, entry: Any, variants: Sequence[Variant]) -> list[Variant]:
        """The variants with this label, or with the norm, the placement and the overrides that an entry names."""
        if labelled := [one for one in variants if one.label == entry]:
            return labelled
        named = entry if isinstance(entry, dict) and entry.keys() <= {"norm", "placement"} else {"norm": entry}
        norm, own = self._norm(named["norm"]) if "norm" in named else (None, {})
        placement, more = self._placement(named["placement"]) if "placement" in named else (None, {})
        found = [
            one
            for one in variants
            if one.norm in (norm or one.norm,) and one.placement in (placement or one.placement,) and not one.control
        ]
        sought = {**own, **more}
        exact = [one for one in found if one.overrides == sought and "norm" in named]  # else the first of the study
        return exact + [one for one in found if one not in exact and sought.items() <= one.overrides.items()]

    def _baseline(self, variants: Sequence[Variant]) -> Variant:
        """A label, a norm, or a mapping of norm and placement; what it omits is the first of the study."""
        entry = self.content.get("baseline", {})
        if found := self._fitting(entry, variants):
            return found[0]
        listed = "norms and placements" if len({one.placement for one in variants}) > 1 else "norms"
        labels = ", ".join(one.label for one in variants)
        raise self.wrong(f"baseline {entry!r} is not among the {listed}; must be one of {labels}")

    def _controls(self, baseline: Variant) -> list[Variant]:
        wanted = self.content.get("controls", False)
        if not isinstance(wanted, bool):
            raise self.wrong(f"controls is {wanted!r}; must be true or false")
        if not wanted:
            return []
        twin = Variant(baseline.norm, baseline.placement, baseline.overrides, "null-twin")
        return [twin, Variant(_BROKEN, baseline.placement, baseline.overrides, "broken")]

    def _comparisons(self, variants: Sequence[Variant], baseline: Variant) -> tuple[tuple[Variant, Variant], ...]:
        pairs = self.content.get("comparisons", "baseline")
        if pairs == "baseline":
            return tuple((variant, baseline) for variant in variants if variant != baseline)
        if not isinstance(pairs, list) or not pairs or not all(isinstance(p, list) and len(p) == 2 for p in pairs):
            raise self.wrong(f"comparisons is {pairs!r}; must be baseline, or pairs such as [[adanorm, none]]")
        found = tuple((self._named(first, variants), self._named(second, variants)) for first, second in pairs)
        for pair, (first, second) in zip(pairs, found, strict=True):
            if first == second:
                raise self.wrong(f"comparisons: {pair!r} compares a variant with itself; name two")
        self.once("comparisons", [" and ".join(sorted((one.label, other.label))) for one, other in found])
        return found

    def _named(self, entry: Any, variants: Sequence[Variant]) -> Variant:
        """The variant with this label, or the only one that is so described, or the only plain one of several."""
        try:
            found = self._fitting(entry, variants)
        except InputError:
            found = []
        if len(found) > 1:
            found = [one for one in found if one.placement.is_native and not one.overrides]
        if len(found) != 1:
            labels = ", ".join(variant.label for variant in variants)
            raise self.wrong(f"comparisons: {entry!r} is not the label of one variant; must be one of {labels}")
        return found[0]

    def _axes(self) -> list[tuple[Settings, ...]]:
        """The points of each axis: a key's values, or those of several keys that change together."""
        given = self.content.get("axes", {})
        groups = given if isinstance(given, list) else [{key: value} for key, value in _flat_axes(given)]
        if not isinstance(given, dict | list) or not all(isinstance(group, dict) and group for group in groups):
            raise self.wrong(f"axes is {given!r}; must be a mapping such as {{model.optimizer.lr: [1e-4, 1e-3]}}")
        axes = []
        for group in groups:
            columns = dict(_flat_axes(group))
            for key, values in columns.items():
                if not isinstance(values, list) or not values:
                    raise self.wrong(f"axes: {key} is {values!r}; must be a list of its values")
                for value in values:
                    self.plain("axes", key, value)
            if len({len(values) for values in columns.values()}) > 1:
                lengths = ", ".join(f"{key} has {len(values)} values" for key, values in columns.items())
                raise self.wrong(f"axes: {lengths}; settings of one mapping change together: give each as many")
            points = [
                dict(zip(columns, map(number_in, values), strict=True))
                for values in zip(*columns.values(), strict=True)
            ]
            self.once("axes", [", ".join(in_brief(point)) for point in points])
            axes.append(tuple(points))
        self.once("axes", [key for axis in axes for key in axis[0]])
        return axes

    def _tuning(
        self, axes: Sequence[tuple[Settings, ...]], seeds: Sequence[int]
    ) -> tuple[Tuning | None, list[tuple[Settings, ...]]]:
        """What is tuned, and the axes that are crossed."""
        keys = self.content.get("tune", [])
        known = [key for axis in axes for key in axis[0]]
        if not isinstance(keys, list) or not all(key in known for key in keys):
            raise self.wrong(
                f"tune is {keys!r}; must be a list of keys of axes: {', '.join(known) or 'there are none'}"
            )
        tuned = [axis for axis in axes if axis[0].keys() & set(keys)]
        if not tuned:
            if unused := [key for key in ("tuning_seeds", "grow") if key in self.content]:
                raise self.wrong(f"{unused[0]} is set, and nothing is tuned; omit it, or list keys of axes in tune")
            return None, list(axes)
        for axis in tuned:
            if missing := sorted(axis[0].keys() - set(keys)):
                raise self.wrong(f"tune omits {missing[0]}, which changes together with a tuned setting; add it")
            if len(axis) < 2:
                raise self.wrong(f"axes: {', '.join(axis[0])} has one value, and tune chooses among values; add some")
        own = self.content.get("tuning_seeds")
        if not isinstance(own, list) or not own:
            raise self.wrong(
                f"tuning_seeds is {own!r}; must be a list of seeds of the runs that choose, as tune is set"
            )
        tuning_seeds = self.seeds("tuning_seeds")
        if both := sorted(set(tuning_seeds) & set(seeds)):
            raise self.wrong(f"tuning_seeds and seeds both have {both[0]}; scores need seeds that chose nothing")
        return Tuning(tuple(tuned), tuning_seeds, self.whole("grow", 2)), [axis for axis in axes if axis not in tuned]

    def _check_owners(self, study: Study, crossed: Sequence[tuple[Settings, ...]]) -> None:
        """Refuse a setting that has two owners, of which one would silently win."""
        owners = {key: "axes" for axis in crossed for key in axis[0]}
        tuned = dict.fromkeys(study.tuning.keys if study.tuning else (), "tune")
        if study.folds is not None:
            owners |= {"data.folds": "folds", "data.fold": "folds"}
        if "split" in study.vary:
            owners["data.split_seed"] = "vary"
        named = [("overrides", study.overrides), *((f"config {one.name}", one.overrides) for one in study.conditions)]
        named += [("axes", dict.fromkeys(key for axis in crossed for key in axis[0])), ("tune", tuned)]
        for variant in study.variants:
            if not variant.control:
                self._refuse_second(f"norm or placement {variant.label}", variant.overrides, owners | tuned)
        for what, settings in named:
            self._refuse_second(what, settings, owners)

    def _refuse_second(self, what: str, settings: Settings, owners: dict[str, str]) -> None:
        for key in settings:
            if owners.get(key, what) != what:
                raise self.wrong(f"{what} sets {key}, which {owners[key]} sets; omit one of them")


def _flat_axes(given: Any) -> list[tuple[str, Any]]:
    return list(flat(given)) if isinstance(given, dict) else []
