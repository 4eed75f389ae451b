"""The analysis of a study: its runs in tables, the comparisons that it declares, and their verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from app.metrics import MetricInfo
from app.study.analysis.answers import answers, asked
from app.study.analysis.comparisons import DIVERGENCE, Looks, best_of, compare
from app.study.analysis.controls import controls_of
from app.study.analysis.evidence import Declared
from app.study.analysis.quantities import BY_NAME, DECLARED, Quantity, score
from app.study.analysis.sides import Side
from app.study.analysis.tables import Analysis, Comparison, Family, Row, Table
from app.study.claims import Claim, claims_path, read_claims
from app.study.plan import Study, Trial
from app.study.trials import result_of

_FAMILIES = {"score": "scores", "overfitting": "overfitting", "gradient": "gradients"}


def analyse(study: Study, trials: Sequence[Trial]) -> Analysis:
    """Compare the runs of a study.

    Args:
        study: the study.
        trials: all its trials.
    """
    trials = [trial for trial in trials if trial.phase == "score"]
    results = [result_of(trial) for trial in trials]
    by_condition: dict[str, list[int]] = {}
    for place, trial in enumerate(trials):
        by_condition.setdefault(trial.condition.label, []).append(place)
    tables = []
    for condition, places in by_condition.items():
        if any(results[place] is not None for place in places):
            ours = [(trials[place], results[place]) for place in places]
            tables.append(_table(study, condition, ours))
    done = sum(found is not None for found in results)
    looks = Looks((), (study.seeds,), preliminary=done < len(trials))
    claims = [claim for name in study.claims for claim in read_claims(claims_path(name))]
    families = _families(study, tables, claims, looks)
    tables = [_with_comparisons(study, table, families, looks) for table in tables]
    found = Analysis(
        study=study,
        tables=tuple(tables),
        families=tuple(families),
        done=done,
        total=len(trials),
        preliminary=done < len(trials),
        controls=controls_of(study, [one for family in families for one in family.comparisons]),
    )
    return replace(found, answers=tuple(answers(claims, found)))


def _table(study: Study, condition: str, trials: Sequence[tuple[Trial, dict[str, Any] | None]]) -> Table:
    first = next(result for _, result in trials if result is not None)
    metric = MetricInfo.from_dict(first["primary_metric"])
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
                missing=tuple(s for s, (_, found) in own.items() if found is None),
            )
        )
    return Table(condition, first["task"], first["dataset"], first.get("model"), metric, tuple(rows))


def _families(study: Study, tables: Sequence[Table], claims: Sequence[Claim], looks: Looks) -> list[Family]:
    """The families of comparisons: each variant with the baseline, and what claims ask for, each once."""
    declared: dict[str, list[Declared]] = {kind: [] for kind in _FAMILIES}
    known: set[tuple[str, str, frozenset[str]]] = set()

    def declare(table: Table, quantity: Quantity, variant: Side, other: Side) -> None:
        one = Declared(table, quantity, variant, other)
        key = (table.condition, quantity.name, one.pair)
        if key not in known:
            known.add(key)
            declared[quantity.kind].append(one)

    for table in tables:
        for quantity in (score(table.metric), *DECLARED):
            for variant in study.variants:
                if variant != study.baseline:
                    declare(table, quantity, variant, study.baseline)
        for name, ours, theirs in asked(claims, study, table):
            declare(table, BY_NAME.get(name) or score(table.metric), ours, theirs)
    pairs = list({(one.table.condition, one.pair): one for ones in declared.values() for one in ones}.values())
    families = []
    for kind, name in _FAMILIES.items():
        ones = [one for one in declared[kind] if _is_measured(one)]
        if ones:
            families.append(_family(name, compare(ones, pairs, {}, looks)))
    if pairs:
        ones = [replace(one, quantity=DIVERGENCE) for one in pairs]
        families.append(_family("divergences", compare(ones, pairs, {}, looks)))
    return families


def _is_measured(one: Declared) -> bool:
    """Whether any run has the quantity: the score always counts, as a run that lacks it yet will have it."""
    return one.quantity.kind == "score" or any(
        one.quantity.value(result) is not None for row, _ in one.terms for result in row.results.values()
    )


def _family(name: str, comparisons: Sequence[Comparison]) -> Family:
    listed = ", ".join(
        f"{one.variant.label} - {one.other.label} in {one.quantity.name} on {one.condition}" for one in comparisons
    )
    count = f"{len(comparisons)} comparison{'s' * (len(comparisons) > 1)}"
    method = "by Holm's method" if name == "divergences" else "by their joint distribution, step by step"
    return Family(name, tuple(comparisons), f"{count}, with p values adjusted together {method}: {listed}")


def _with_comparisons(study: Study, table: Table, families: Sequence[Family], looks: Looks) -> Table:
    own = [
        found
        for family in families
        for found in family.comparisons
        if found.condition == table.condition and found.other == study.baseline
    ]
    scores = {found.variant: found for found in own if found.quantity.kind == "score"}
    rows = tuple(replace(row, comparison=scores.get(row.variant)) for row in table.rows)
    return replace(
        table,
        rows=rows,
        secondary=tuple(one for one in own if one.quantity.name in BY_NAME),
        best=() if looks.preliminary else best_of(table, score(table.metric)),
    )
