"""`python -m app.study compare`: runs that no study started, as a study that is made up of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.backbones.placement import PlacementSpec
from app.errors import InputError
from app.norms import NATIVE, NormError, NormSpec
from app.runs.result import FILE_NAME
from app.study.plan import Condition, Study, Trial, Variant
from app.study.trials import result_in


def study_of_runs(folders: Sequence[Path], baseline: str | None = None) -> tuple[Study, list[Trial]]:
    """The study that runs would be of: variants by norm and placement, conditions by data, model and settings.

    A setting in which the runs differ tells conditions apart where each of its values has a run of the first run's norm
    and placement; else it belongs to the variants, as with a norm that was trained at a rate of its own.

    Args:
        folders: run folders, or folders with runs in them, such as those of studies.
        baseline: label of the variant that the others are compared with; that of the first run by default.

    Returns:
        The study and its trials, whose roots are the run folders.

    Raises:
        InputError: for a folder without a finished run, for two runs of the same variant and seed, and for a baseline
            that no run has.
    """
    runs = {folder: result for given in folders for folder, result in _runs_in(given)}
    groups: dict[tuple[str, str, str], dict[Path, dict[str, Any]]] = {}
    for folder, result in runs.items():
        model = result.get("model") or ""
        groups.setdefault((result["task"], result["dataset"], model), {})[folder] = result
    trials: dict[tuple[str, str, int], Trial] = {}
    for (_, dataset, model), group in groups.items():
        name = ", ".join(filter(None, (dataset, model)))
        plain = {folder: _variant(folder, result) for folder, result in group.items()}
        first = plain[next(iter(group))]
        settings = {folder: _varying(group, folder) for folder in group}
        crossed = all(
            any(plain[folder] == first and settings[folder] == one for folder in group) for one in settings.values()
        )
        for folder, result in group.items():
            own = settings[folder]
            variant = plain[folder] if crossed else Variant(plain[folder].norm, plain[folder].placement, own)
            condition = Condition(name, (), axes=own if crossed else {})
            key = (condition.label, variant.label, result["seed"])
            if key in trials:
                raise InputError(
                    f"{folder} and {trials[key].root} are both {key[1]} with seed {key[2]} on {key[0]}; give one"
                )
            trials[key] = Trial(condition, variant, result["seed"], folder, ())
    found = list(trials.values())
    if len(found) < 2:
        raise InputError(f"{folders[0]} is the only finished run that was given; give at least two to compare")
    names = sorted(str(folder.resolve()) for folder in runs)
    variants = list(dict.fromkeys(trial.variant for trial in found))
    chosen = next((variant for variant in variants if baseline in (None, variant.label)), None)
    if chosen is None:
        raise InputError(f"--baseline is {baseline}; must be one of {', '.join(variant.label for variant in variants)}")
    study = Study(
        name=f"of-{len(found)}-runs-{hashlib.sha256(json.dumps(names).encode()).hexdigest()[:6]}",
        conditions=tuple(dict.fromkeys(trial.condition for trial in found)),
        variants=tuple(variants),
        seeds=tuple(sorted({trial.seed for trial in found})),
        baseline=chosen,
        comparisons=tuple((variant, chosen) for variant in variants if variant != chosen),
    )
    return study, found


def _runs_in(given: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The finished and diverged runs in a folder, which may be one itself."""
    folders = [given] if (given / FILE_NAME).is_file() else sorted(path.parent for path in given.rglob(FILE_NAME))
    ended = [(folder, result) for folder in folders if (result := result_in(folder)) is not None]
    if not ended:
        raise InputError(f"{given}: no finished run there; give run folders, as fit prints them, or a study's folder")
    return ended


def _variant(folder: Path, result: Mapping[str, Any]) -> Variant:
    norm = {key: value for key, value in result["norm"].items() if key not in ("label", "replaced", "total", "left")}
    if "rules" in norm:
        del norm["name"]  # of several rules, for people
    try:
        return Variant(NormSpec.parse(norm), PlacementSpec.parse(result.get("placement", NATIVE)))
    except NormError as error:
        raise InputError(f"{folder / FILE_NAME}: {error}") from error


def _varying(group: Mapping[Path, Mapping[str, Any]], folder: Path) -> dict[str, Any]:
    """The settings of a run in which the runs of a group differ, if all have recorded theirs."""
    recorded = [result.get("training") or {} for result in group.values()]
    own = group[folder].get("training") or {}
    known = [key for key in own if all(key in settings for settings in recorded)]
    return {
        key: own[key]
        for key in known
        if key.startswith(("model.", "data.", "trainer.")) and len({str(s[key]) for s in recorded}) > 1
    }
