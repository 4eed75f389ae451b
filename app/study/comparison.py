"""The scores of a study by config, norm and placement, each compared with the baseline's in paired runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.metrics import MetricInfo
from app.study.plan import Study, Trial, Variant
from app.study.statistics import FEWEST_SEEDS, MOST_SEEDS, Difference, Summary, holm, paired_difference, summarise
from app.study.trials import result_of

_FINGERPRINTS = ("data_fingerprint", "plan_fingerprint", "weights_fingerprint")
Results = dict[int, dict[str, Any]]  # by seed: result.json of finished runs
Score = Callable[[dict[str, Any]], float]


@dataclass(frozen=True)
class NormRow:
    """One norm in one placement on one config.

    Attributes:
        variant: norm and placement.
        results: result.json of its finished runs, by seed.
        diverged: number of runs that diverged.
        missing: number of runs that have not ended.
        test: test scores in the primary metric, in per cent where it is a share; None without a finished run.
        difference: the variant minus the baseline, paired; None for the baseline, or where there is no pair.
        adjusted: the p value after Holm's correction over the whole study; nan where there is none.
    """

    variant: Variant
    results: Results
    diverged: int
    missing: int
    test: Summary | None
    difference: Difference | None
    adjusted: float

    @property
    def is_shown(self) -> bool:
        """Whether a difference from the baseline is shown: at least three seeds, and p below 5 % after correction."""
        found = self.difference
        return found is not None and found.n >= FEWEST_SEEDS and self.adjusted < 0.05

    @property
    def words(self) -> str:
        """The comparison with the baseline in words."""
        found = self.difference
        if found is None:
            return "no run is paired with one of the baseline"
        if found.n < FEWEST_SEEDS:
            return f"{found.n} paired seed{'s' * (found.n > 1)}: too few to call a difference"
        low, high = found.t_interval
        text = "difference shown" if self.is_shown else "no difference shown"
        if not self.is_shown and low * high > 0:
            text += " after Holm's correction"
        needed = found.seeds_needed or f"more than {MOST_SEEDS:,}"
        return (
            f"{text}: {found.mean:+.2f}, 95 % interval {low:+.2f} to {high:+.2f}; with {found.n} seeds the minimum "
            f"detectable difference is {found.detectable:.2f}; confirming {abs(found.mean):.2f} would take {needed}"
        )


@dataclass(frozen=True)
class Table:
    """All norms and placements on one config.

    Attributes:
        model: short name of the model; None for runs of earlier versions.
    """

    config: str
    task: str
    dataset: str
    model: str | None
    metric: MetricInfo
    rows: list[NormRow]

    @property
    def name(self) -> str:
        """What it is of, in words: dataset and model."""
        return self.dataset if self.model is None else f"{self.dataset}, {self.model}"

    def row(self, norm: str) -> NormRow | None:
        """The row of a norm by its name, whatever its options; None where the study lacks it alone and not placed."""
        return next((row for row in self.rows if row.variant.is_plain and row.variant.norm.name == norm), None)

    @property
    def best(self) -> NormRow | None:
        """The row of the best mean; None where no norm has three seeds: no winner below that."""
        known = [(row.test.mean, row) for row in self.rows if row.test is not None and row.test.n >= FEWEST_SEEDS]
        choose = max if self.metric.higher_is_better else min
        return choose(known, key=lambda pair: pair[0])[1] if known else None


def tables(study: Study, trials: Sequence[Trial]) -> list[Table]:
    """A table for each config with a run that ended; p values are corrected over all of them together."""
    drafts = [(config, [trial for trial in trials if trial.config == config]) for config in study.configs]
    found = [table for config, own in drafts if (table := _table(study, config, own)) is not None]
    adjusted = iter(holm([row.difference.p_value if row.difference else math.nan for t in found for row in t.rows]))
    return [replace(table, rows=[replace(row, adjusted=next(adjusted)) for row in table.rows]) for table in found]


def test_score(metric: MetricInfo) -> Score:
    """The function that reads the test score from a result, in per cent where the metric is a share."""
    factor = 100.0 if metric.is_share else 1.0
    return lambda result: factor * result["test"][metric.name]


def compare(norm: Results, baseline: Results, score: Score) -> Difference | None:
    """The difference of two norms in a score, over runs with the same seed, verified as paired by their fingerprints.

    Paired runs share data, batch plan and initial weights outside the norms. None where there is no such pair.
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
    metric = MetricInfo.from_dict(first["primary_metric"])
    score = test_score(metric)

    def results_of(variant: Variant) -> Results:
        own = [(trial.seed, found) for trial, found in ended if trial.variant == variant]
        return {seed: found for seed, found in own if found["status"] == "finished"}

    baseline = results_of(study.baseline)
    rows = []
    for variant in study.variants:
        results = results_of(variant)
        of_variant = sum(trial.variant == variant for trial, _ in ended)
        rows.append(
            NormRow(
                variant=variant,
                results=results,
                diverged=of_variant - len(results),
                missing=len(study.seeds) - of_variant,
                test=summarise([score(result) for result in results.values()]) if results else None,
                difference=compare(results, baseline, score) if variant != study.baseline else None,
                adjusted=math.nan,
            )
        )
    return Table(config, first["task"], first["dataset"], first.get("model"), metric, rows)
