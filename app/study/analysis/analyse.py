"""The analysis of a study: its runs in tables, the comparisons that it declares, and their verdicts."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from app.metrics import MetricInfo
from app.study.analysis.answers import answers, asked
from app.study.analysis.comparisons import DIVERGENCE, best_of, compare, looks_so_far
from app.study.analysis.controls import controls_of
from app.study.analysis.evidence import Declared
from app.study.analysis.quantities import BY_NAME, DECLARED, Kind, Quantity, score
from app.study.analysis.sides import Side
from app.study.analysis.tables import Analysis, Comparison, Family, Row, Table
from app.study.claims import Claim, claims_path, read_claims
from app.study.plan import Study, Trial, Variant
from app.study.trials import result_of
from app.study.tuning import tuning_results
from app.study.tuning.choice import has_ended

_FAMILIES: dict[Kind, str] = {
    "score": "scores", "overfitting": "overfitting", "gradient": "gradients", "stability": "divergences",
}  # fmt: skip


def analyse(study: Study, trials: Sequence[Trial], known: Sequence[Family] | None = None) -> Analysis:
    """Compare the runs of a study.

    Args:
        study: the study.
        trials: all its trials.
        known: its comparisons with their numbers, where an earlier analysis has them; else they are computed.
    """
    plan = _Plan(study, trials)
    families = known
    if families is None:
        declared = [(kind, ones) for kind, ones in plan.declared.items() if ones]
        families = [_family(kind, ones, compare(ones, plan.pairs, study, plan.looks)) for kind, ones in declared]
    verdicts = [one.verdict for family in families for one in family.comparisons]
    preliminary = "preliminary" in verdicts if verdicts else plan.looks.preliminary
    found = Analysis(
        study=study,
        tables=tuple(_with_comparisons(study, table, families, preliminary) for table in plan.tables),
        families=tuple(families),
        done=plan.done,
        total=plan.total,
        preliminary=preliminary,
        tuning=tuning_results(study, trials) or None,
        controls=controls_of(study, [one for family in families for one in family.comparisons]),
    )
    return replace(found, answers=tuple(answers(plan.claims, found)))


def decided(study: Study, trials: Sequence[Trial]) -> dict[tuple[str, Variant], int]:
    """The variants that further seeds would tell nothing new of, by label of the condition and variant.

    Args:
        study: the study.
        trials: all its trials.

    Returns:
        The number of seeds at which the last of its comparisons of scores was decided; only of variants all of which
        are.
    """
    plan = _Plan(study, trials)
    scores = plan.declared["score"]
    found: dict[tuple[str, Variant], list[int]] = {}
    open_: set[tuple[str, Variant]] = set()
    for one, it in zip(scores, compare(scores, plan.pairs, study, plan.looks), strict=True):
        for row, _ in one.terms:
            where = (it.condition, row.variant)
            if it.is_decided and it.look is not None:
                found.setdefault(where, []).append(it.look)
            else:
                open_.add(where)
    return {where: max(looks) for where, looks in found.items() if where not in open_}


class _Plan:
    """What a study compares, as far as its runs say."""

    def __init__(self, study: Study, trials: Sequence[Trial]) -> None:
        scored = [trial for trial in trials if trial.phase == "score"]
        results = [result_of(trial) for trial in scored]
        by_condition: dict[str, list[tuple[Trial, dict[str, Any] | None]]] = {}
        for trial, result in zip(scored, results, strict=True):
            by_condition.setdefault(trial.condition.label, []).append((trial, result))
        by_run = {trial.root: result for trial, result in zip(scored, results, strict=True)}
        self.done, self.total = sum(result is not None for result in by_run.values()), len(by_run)
        self.tables = [
            _table(study, condition, own) for condition, own in by_condition.items() if any(result for _, result in own)
        ]
        self.claims = [claim for name in study.claims for claim in read_claims(claims_path(name))]
        self.declared = _declared(study, self.tables, self.claims)
        self.pairs = [replace(one, quantity=DIVERGENCE) for one in _by_pair(self.declared)]
        self.declared["stability"] = self.pairs
        tuned = all(has_ended(trial, study.retries) for trial in trials if trial.phase == "tune")
        is_whole = tuned and len(self.tables) == len(by_condition)
        scores = self.declared["score"] if is_whole else []
        self.looks = looks_so_far(study, scores, self.pairs, is_whole and self.done == self.total)


def _table(study: Study, condition: str, trials: Sequence[tuple[Trial, dict[str, Any] | None]]) -> Table:
    first = next(result for _, result in trials if result is not None)
    metric = MetricInfo.from_dict(first["primary_metric"])
    finished = [found for _, found in trials if found and found["status"] == "finished"]
    learns = not all(_has_collapsed(found, metric) for found in finished)  # else the task is too hard for all of them
    quantity = score(metric)
    rows = []
    for variant in study.variants:
        own = {trial.seed: (trial, result) for trial, result in trials if trial.variant == variant}
        results = {seed: found for seed, (_, found) in own.items() if found and found["status"] == "finished"}
        rows.append(
            Row(
                variant=variant,
                trials={seed: trial for seed, (trial, _) in own.items()},
                results=results,
                scores={s: value for s, found in results.items() if (value := quantity.value(found)) is not None},
                diverged=tuple(s for s, (_, found) in own.items() if found and found["status"] == "diverged"),
                collapsed=tuple(s for s, found in results.items() if learns and _has_collapsed(found, metric)),
                missing=tuple(s for s, (_, found) in own.items() if found is None),
            )
        )
    return Table(condition, first["task"], first["dataset"], first.get("model"), metric, tuple(rows))


def _has_collapsed(result: dict[str, Any], metric: MetricInfo) -> bool:
    """Whether a run's test score is at most that of the most frequent class."""
    known = result["test"] or {}
    chance = known.get(f"{metric.name}_of_majority")
    return chance is not None and metric.name in known and known[metric.name] <= chance


def _declared(study: Study, tables: Sequence[Table], claims: Sequence[Claim]) -> dict[Kind, list[Declared]]:
    """The comparisons of each family: those of the plan, and what claims ask for, each once."""
    declared: dict[Kind, list[Declared]] = {kind: [] for kind in _FAMILIES}
    known: set[tuple[str, str, frozenset[str]]] = set()

    def declare(table: Table, quantity: Quantity, variant: Side, other: Side) -> None:
        one = Declared(table, quantity, variant, other)
        key = (table.condition, quantity.name, one.pair)
        if key not in known and _is_measured(one):
            known.add(key)
            declared[quantity.kind].append(one)

    for table in tables:
        for quantity in (score(table.metric), *DECLARED):
            for variant, other in (*study.comparisons, *((control, study.baseline) for control in study.controls)):
                declare(table, quantity, variant, other)
        for name, ours, theirs in asked(claims, study, table):
            declare(table, BY_NAME.get(name) or score(table.metric), ours, theirs)
    return declared


def _by_pair(declared: Mapping[Kind, Sequence[Declared]]) -> list[Declared]:
    """One comparison of each pair of variants under each condition."""
    every = [one for ones in declared.values() for one in ones]
    return list({(one.table.condition, one.pair): one for one in every}.values())


def _is_measured(one: Declared) -> bool:
    """Whether any run has the quantity: the score always counts, as a run that lacks it yet will have it."""
    return one.quantity.kind == "score" or any(
        one.quantity.value(result) is not None for row, _ in one.terms for result in row.results.values()
    )


def _family(kind: Kind, declared: Sequence[Declared], comparisons: Sequence[Comparison]) -> Family:
    conditions: dict[Hashable, list[str]] = {}  # of each, which one of the same runs may have several of
    for one in declared:
        conditions.setdefault(one.key, []).append(one.table.condition)
    listed = ", ".join(
        f"{one.variant.label} - {one.other.label} in {one.quantity.name} on {' = '.join(conditions[of.key])}"
        for of, one in zip(declared, comparisons, strict=True)
        if one.condition == conditions[of.key][0]
    )
    count = f"{len(conditions)} comparison{'s' * (len(conditions) > 1)}"
    method = "by Holm's method" if kind == "stability" else "by their joint distribution, step by step"
    return Family(_FAMILIES[kind], tuple(comparisons), f"{count}, with p values adjusted together {method}: {listed}")


def _with_comparisons(study: Study, table: Table, families: Sequence[Family], preliminary: bool) -> Table:
    """The table with the comparisons that the plan declares; those that only claims ask for are not among them."""
    own = [
        found
        for family in families
        for found in family.comparisons
        if found.condition == table.condition and (found.variant, found.other) in study.comparisons
    ]
    scores = [found for found in own if found.quantity.kind == "score"]
    with_baseline = sorted(scores, key=lambda found: found.other == study.baseline)  # which wins, being the last
    by_variant = {found.variant: found for found in with_baseline}
    return replace(
        table,
        rows=tuple(replace(row, comparison=by_variant.get(row.variant)) for row in table.rows),
        secondary=tuple(found for found in own if found.quantity.name in BY_NAME),
        best=() if preliminary else best_of(table, score(table.metric), scores),
    )
