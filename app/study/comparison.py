"""A study's answer: scores by config and norm, each beside the baseline, and what they say of the paper's claims."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from app.study.plan import Study, Trial, label_of
from app.study.statistics import FEWEST_SEEDS, Difference, Summary, holm, paired_difference, summarise
from app.study.trials import result_of

_FINGERPRINTS = ("data_fingerprint", "plan_fingerprint", "weights_fingerprint")
_PER_CENT = ("accuracy", "uas", "las")
Results = dict[int, dict[str, Any]]  # by seed: result.json of runs that ended
Score = Callable[[dict[str, Any]], float]


@dataclass(frozen=True)
class NormRow:
    """One norm on one config.

    Attributes:
        norm: label.
        results: of runs that came to their end, by seed.
        diverged: how many diverged.
        missing: how many have not ended.
        test: of the primary metric, in per cent where it is a share; None without a finished run.
        difference: to the baseline's, paired; None for the baseline itself, or where there is no pair.
        adjusted: the p value after Holm's correction over the whole study; nan where there is none.
    """

    norm: str
    results: Results
    diverged: int
    missing: int
    test: Summary | None
    difference: Difference | None
    adjusted: float

    @property
    def is_shown(self) -> bool:
        """Whether a difference to the baseline is shown: three seeds at least, and below 5 % after correction."""
        found = self.difference
        return found is not None and found.n >= FEWEST_SEEDS and self.adjusted < 0.05

    @property
    def words(self) -> str:
        """The comparison with the baseline in words."""
        found = self.difference
        if found is None:
            return "no run that is paired with one of the baseline"
        if found.n < FEWEST_SEEDS:
            return f"{found.n} paired seed{'s' * (found.n > 1)}: too few to call a difference"
        low, high = found.t_interval
        text = "difference shown" if self.is_shown else "no difference shown"
        if not self.is_shown and low * high > 0:
            text += " after Holm's correction"
        needed = f"{found.seeds_needed} seeds" if found.seeds_needed else "more seeds than anybody will run"
        return (
            f"{text}: {found.mean:+.2f}, 95 % interval {low:+.2f} to {high:+.2f}; {found.n} seeds could have shown "
            f"{found.detectable:.2f}, and to show {abs(found.mean):.2f} takes {needed}"
        )


@dataclass(frozen=True)
class Table:
    """All norms on one config."""

    config: str
    task: str
    dataset: str
    metric: str
    mode: Literal["min", "max"]
    rows: list[NormRow]

    def row(self, norm: str) -> NormRow | None:
        """Of a norm by its name, options whatever they are."""
        return next((row for row in self.rows if row.norm.partition("(")[0] == norm), None)

    @property
    def best(self) -> str | None:
        """The norm of the best mean; None where no norm has three seeds: no winner below that."""
        known = [row for row in self.rows if row.test is not None and row.test.n >= FEWEST_SEEDS]
        if not known:
            return None
        choose = max if self.mode == "max" else min
        return choose(known, key=lambda row: row.test.mean if row.test else math.nan).norm


def tables(study: Study, trials: Sequence[Trial]) -> list[Table]:
    """One for each config that has a run that ended; p values are corrected over all of them together."""
    drafts = [(config, [trial for trial in trials if trial.config == config]) for config in study.configs]
    found = [table for config, own in drafts if (table := _table(study, config, own)) is not None]
    compared = [row for table in found for row in table.rows if row.difference is not None]
    adjusted = holm([row.difference.p_value for row in compared if row.difference is not None])
    by_row = {id(row): p for row, p in zip(compared, adjusted, strict=True)}

    def corrected(row: NormRow) -> NormRow:
        return replace(row, adjusted=by_row.get(id(row), math.nan))

    return [replace(table, rows=[corrected(row) for row in table.rows]) for table in found]


def test_score(metric: str) -> Score:
    """The test's, in per cent where the metric is a share."""
    factor = 100.0 if metric in _PER_CENT else 1.0
    return lambda result: factor * result["test"][metric]


def compare(norm: Results, baseline: Results, score: Score) -> Difference | None:
    """The paired difference of two norms in any score.

    Only runs that their fingerprints prove to be paired count: of one seed, with the same data, batch plan and initial
    weights outside the norms. None where there is no such pair.
    """
    pairs = [
        seed
        for seed in norm.keys() & baseline.keys()
        if all(norm[seed][name] == baseline[seed][name] for name in _FINGERPRINTS)
    ]
    if not pairs:
        return None
    return paired_difference({s: score(norm[s]) for s in pairs}, {s: score(baseline[s]) for s in pairs})


def _table(study: Study, config: str, trials: Sequence[Trial]) -> Table | None:
    ended = [(trial, result) for trial in trials if (result := result_of(trial)) is not None]
    if not ended:
        return None
    first = ended[0][1]
    metric, mode = first["primary_metric"]["name"], first["primary_metric"]["mode"]
    score = test_score(metric)
    by_norm: dict[str, Results] = {label_of(norm): {} for norm in study.norms}
    diverged = dict.fromkeys(by_norm, 0)
    for trial, result in ended:
        if result["status"] == "diverged":
            diverged[trial.norm_label] += 1
        else:
            by_norm[trial.norm_label][trial.seed] = result
    baseline = label_of(study.baseline)
    rows = [
        NormRow(
            norm=norm,
            results=results,
            diverged=diverged[norm],
            missing=len(study.seeds) - len(results) - diverged[norm],
            test=summarise([score(result) for result in results.values()]) if results else None,
            difference=compare(results, by_norm[baseline], score) if norm != baseline else None,
            adjusted=math.nan,
        )
        for norm, results in by_norm.items()
    ]
    return Table(config, first["task"], first["dataset"], metric, mode, rows)
