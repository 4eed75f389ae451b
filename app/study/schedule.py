"""Which trials a study needs, as far as ended runs can say: a pure function of the plan and of the disk."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from app.study.analysis.analyse import decided
from app.study.plan import Condition, Settings, Study, Trial, Variant
from app.study.plan.flags import in_brief
from app.study.tuning import Choice, choose
from app.study.tuning.choice import has_ended

_Place = tuple[Condition, dict[Variant, Settings]]  # a condition of tables, with the tuned values of each variant


@dataclass(frozen=True)
class Schedule:
    """The trials of a study that are known to be needed.

    Attributes:
        trials: all of them, in the order in which they start, whether they have ended or not. One run is a trial in
            several conditions where it has the same values in all of them.
        words: which further trials depend on results that are not there yet, for the user; empty if none does.
    """

    trials: list[Trial]
    words: str

    @property
    def runs(self) -> list[Trial]:
        """The trials without those that are the same run as an earlier one."""
        by_root: dict[Path, Trial] = {}
        for trial in self.trials:
            by_root.setdefault(trial.root, trial)
        return list(by_root.values())

    @property
    def total(self) -> int | None:
        """How many runs the study has; None where this depends on results."""
        return None if self.words else len(self.runs)


def needed(study: Study, root: Path) -> Schedule:
    """The schedule of a study: runs that choose tuned values, then seeds at these, as many as the looks leave.

    Args:
        study: the study.
        root: the folder of all studies.
    """
    places: list[_Place] = []
    tuning: list[Trial] = []
    words = ""
    for condition in study.conditions:
        if study.tuning is None:
            places.append((condition, dict.fromkeys(study.variants, {})))
            continue
        choice = choose(study, study.tuning, condition, root)
        places += _places(study, condition, choice)
        tuning += choice.trials
        if not choice.is_complete:
            keys = ", ".join(study.tuning.keys)
            words = f"the tuning of {keys} chooses further runs, at the baseline's best and at each variant's own"
    return _with_scores(study, root, tuning, places, words)


def _places(study: Study, condition: Condition, choice: Choice) -> list[_Place]:
    """At the common values; and once they are chosen, at the baseline's best and at each variant's own best.

    Controls have the baseline's. Places at which every variant has the same values are one.
    """
    common, best = study.common(condition), choice.best.get(study.baseline.label)
    own = {
        variant: choice.best.get(variant.label, best) if variant.control is None else best for variant in study.variants
    }
    named = {f"common {', '.join(in_brief(common))}": dict.fromkeys(study.variants, common)}
    if best is not None:
        named[f"the baseline's best {', '.join(in_brief(best))}"] = dict.fromkeys(study.variants, best)
    if choice.is_complete:
        keys = ", ".join(key.rpartition(".")[2] for key in common)
        named[f"each at its best {keys}"] = {variant: values for variant, values in own.items() if values is not None}
    merged: list[tuple[str, dict[Variant, Settings]]] = []
    for words, values in named.items():
        same = next((number for number, (_, known) in enumerate(merged) if known == values), None)
        if same is None:
            merged.append((words, values))
        else:
            merged[same] = (f"{merged[same][0]} and {words}", values)
    return [(replace(condition, at=words), values) for words, values in merged]


def _with_scores(study: Study, root: Path, tuning: list[Trial], places: Sequence[_Place], depends_on: str) -> Schedule:
    """Add the runs that are compared: seed by seed, and after each look only for what is not decided.

    No look decides before all places are known, for all comparisons are one family.
    """
    trials: list[Trial] = []
    stopped: Collection[tuple[str, Variant]] = ()
    begun = 0
    for look in study.looks:
        trials += [
            study.trial(root, condition, variant, seed, "score", at)
            for seed in study.seeds[begun:look]
            for condition, values in places
            for variant, at in values.items()
            if (condition.label, variant) not in stopped
        ]
        begun = look
        if look == study.looks[-1]:
            break
        if depends_on or not all(has_ended(trial, study.retries) for trial in trials):
            more = f"after {look} seeds, up to {len(study.seeds) - look} more for variants that are not decided by then"
            return Schedule([*tuning, *trials], "; ".join(filter(None, [depends_on, more])))
        stopped = decided(study, trials).keys()
    return Schedule([*tuning, *trials], depends_on)
