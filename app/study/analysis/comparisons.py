"""The declared comparisons of a study, each with its numbers and its verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from app.study.analysis.evidence import Declared, Evidence, blocks, divergences, gather
from app.study.analysis.looks import Looks
from app.study.analysis.quantities import Quantity, margin_of
from app.study.analysis.sides import Side
from app.study.analysis.tables import Comparison, Diverged, Table, Verdict
from app.study.analysis.words import estimand
from app.study.plan import Study, Variant
from app.study.statistics.binary import unequal_shares
from app.study.statistics.equivalence import equal_within, not_worse
from app.study.statistics.estimate import ALPHA, FEWEST_SEEDS, Estimate, Ranged
from app.study.statistics.multiplicity import Joint, holm
from app.study.statistics.paired import outliers, standard_deviation
from app.study.statistics.power import detectable, seeds_needed

DIVERGENCE = Quantity("divergence", "", False, "stability", lambda result: None)
_UNKNOWN = Ranged(math.nan, math.nan, math.nan)


Deaths = dict[tuple[str, Side, Side], Diverged]  # by condition, ours and theirs


def compare(declared: Sequence[Declared], pairs: Sequence[Declared], study: Study, looks: Looks) -> list[Comparison]:
    """The comparisons of one family; what a look decided, later ones do not change.

    Comparisons of the same runs, which a study that tunes may have under several conditions, are one.

    Args:
        declared: what is compared.
        pairs: one comparison of each pair of variants of the study, whose divergences are a family of their own.
        study: whose margins these are.
        looks: the looks so far.
    """
    distinct = list({one.key: one for one in declared}.values())
    found: list[Comparison] = []
    for until in looks.so_far():
        new = _compare(distinct, stability(pairs, until), study, until)
        found = [old if old.is_decided else one for old, one in zip(found, new, strict=True)] if found else new
    by_key = dict(zip((one.key for one in distinct), found, strict=True))
    return [
        replace(by_key[one.key], condition=one.table.condition, variant=one.variant, other=one.other)
        for one in declared
    ]


def looks_so_far(study: Study, declared: Sequence[Declared], pairs: Sequence[Declared], is_done: bool) -> Looks:
    """The looks that the study has reached: those at which no undecided comparison of scores lacks a run.

    Args:
        study: the study.
        declared: its comparisons of scores; without all of them, as before the first runs, no look is possible.
        pairs: as in `compare`.
        is_done: whether all trials have ended.
    """
    if len(study.looks) < 2:
        return Looks.at_the_end(study, is_done)
    looks, undecided = Looks.at(study, 0), list(declared)
    for number, size in enumerate(study.looks, 1):
        if not undecided or not all(one.has_ended(study.seeds[:size]) for one in undecided):
            break
        looks = Looks.at(study, number)
        found = compare(declared, pairs, study, looks)
        undecided = [one for one, it in zip(declared, found, strict=True) if not it.is_decided]
    return looks


def stability(pairs: Sequence[Declared], looks: Looks) -> Deaths:
    """The divergences of each pair of variants, both ways round; p values are adjusted over all by Holm's method."""
    distinct = list({one.runs: one for one in pairs}.values())
    counts = [[divergences(one, seeds) for seeds in looks.seeds] for one in distinct]
    p_values = [looks.p_value([unequal_shares(*count) for count in counted]) for counted in counts]
    by_runs = {
        one.runs: Diverged(*counted[-1], p, adjusted, any(row.collapsed for row, _ in one.terms))
        for one, counted, p, adjusted in zip(distinct, counts, p_values, holm(p_values), strict=True)
    }
    found: Deaths = {}
    for one in pairs:
        found[one.table.condition, one.variant, one.other] = by_runs[one.runs]
        found[one.table.condition, one.other, one.variant] = by_runs[one.runs].reversed
    return found


def best_of(table: Table, quantity: Quantity, comparisons: Sequence[Comparison]) -> tuple[Variant, ...]:
    """The variants that cannot be told from the best (multiple comparisons with the best: Hsu, 1984).

    They are those that the variant of the best mean, over the seeds that all have, does not beat. Empty where a
    comparison lacks seeds; a variant with runs that diverged or collapsed is not among the best, and controls are not.

    Args:
        table: of the variants.
        quantity: their score.
        comparisons: the study's own in this score, whose verdicts hold here, too.
    """
    rows = [row for row in table.rows if row.scores and not row.failed and not row.variant.control]
    seeds = set.intersection(*(set(row.scores) for row in rows)) if rows else set()
    if len(rows) < 2 or len(seeds) < FEWEST_SEEDS:
        return ()
    sign = 1 if quantity.higher_is_better else -1
    top = max(rows, key=lambda row: sign * sum(row.scores[seed] for seed in seeds))
    evidence = gather([Declared(table, quantity, top.variant, row.variant) for row in rows if row is not top], seeds)
    tested, places = blocks(evidence)
    level = Joint(tested, len(evidence) - len(places)).level(ALPHA)
    beaten = {evidence[place].declared.other: evidence[place].mean.p < level for place in places}
    for one in comparisons:
        for found in (one, one.reversed):
            if found.variant == top.variant and isinstance(found.other, Variant):
                beaten[found.other] = found.verdict == "better"
    return tuple(row.variant for row in rows if not beaten.get(row.variant))


@dataclass(frozen=True)
class _Tested:
    """A p value of each comparison of a family, over all looks so far, and the same adjusted for the family."""

    p: list[float]
    adjusted: list[float]


def _compare(declared: Sequence[Declared], deaths: Deaths, study: Study, looks: Looks) -> list[Comparison]:
    by_look = [gather(declared, seeds) for seeds in looks.seeds]
    limits = [margin_of(one.quantity, study.margin) for one in declared]

    def over_looks(test: Callable[[Evidence, float | None], float]) -> list[float]:
        every = range(len(declared))
        return [looks.p_value([test(found[place], limits[place]) for found in by_look]) for place in every]

    p, equal, at_least = (over_looks(test) for test in (_differs, _is_equal, _is_not_worse))
    tested, places = blocks(by_look[-1])
    joint = Joint(tested, len(declared) - len(places))
    if looks.planned:  # whose joint distribution over several looks is not simulated
        differs, level = _Tested(p, holm(p)), looks.level / len(declared)
    else:
        differs, level = _Tested(p, joint.adjust(p, places)), joint.level(ALPHA)
    tests = (differs, _Tested(equal, holm(equal)), _Tested(at_least, holm(at_least)))
    found = []
    for place, (one, evidence, limit) in enumerate(zip(declared, by_look[-1], limits, strict=True)):
        numbers = _numbers(evidence, looks.level, level, limit, tests, place, study) if evidence.pairs.seeds else None
        dead = deaths[one.table.condition, one.variant, one.other]
        found.append(
            Comparison(
                quantity=one.quantity,
                condition=one.table.condition,
                variant=one.variant,
                other=one.other,
                estimate=numbers,
                diverged=dead,
                margin=limit,
                verdict="preliminary" if looks.preliminary else _verdict(one.quantity, numbers, dead),
                unpaired=evidence.pairs.unpaired,
                look=len(looks.seeds[-1]) if looks.planned and not looks.preliminary else None,
            )
        )
    return found


def _differs(found: Evidence, _: float | None) -> float:
    return found.mean.p


def _is_equal(found: Evidence, margin: float | None) -> float:
    return math.nan if margin is None else equal_within(found.mean, margin)


def _is_not_worse(found: Evidence, margin: float | None) -> float:
    better = found.declared.quantity.higher_is_better
    return math.nan if margin is None or better is None else not_worse(found.mean, margin, better)


def _numbers(
    found: Evidence,
    alone: float,
    level: float,
    margin: float | None,
    tests: Sequence[_Tested],
    place: int,
    study: Study,
) -> Estimate:
    """The numbers of a comparison, at its level alone and at that which its family leaves to it."""
    mean, seeds, variance = found.mean, found.pairs.seeds, found.variance
    differs, equal, at_least = tests
    low, high = mean.interval(alone)
    of_examples = found.examples.persistent if found.examples else 0.0
    needed = None
    if margin is not None:
        each = variance.df / max(1, len(seeds) - 1)
        needed = (
            seeds_needed(margin, variance.value, of_examples, each, variance.df, level) if mean.is_known else _UNKNOWN
        )
    return Estimate(
        n=len(seeds),
        mean=mean.value,
        sd=standard_deviation(found.pairs.differences),
        se=mean.se,
        df=mean.df,
        low=low,
        high=high,
        p=differs.p[place],
        adjusted=differs.adjusted[place],
        simultaneous=mean.interval(level),
        tost_p=None if margin is None else equal.p[place],
        tost_adjusted=None if margin is None else equal.adjusted[place],
        not_worse_p=None if margin is None else at_least.p[place],
        not_worse_adjusted=None if margin is None else at_least.adjusted[place],
        detectable=detectable(mean.se, mean.df, level) if mean.is_known else _UNKNOWN,
        seeds_needed=needed,
        sources={"seeds": variance.value / len(seeds), **({"examples": of_examples} if found.examples else {})},
        estimand=estimand(study, found.examples is not None),
        outliers=tuple(seeds[far] for far in outliers(found.pairs.differences)),
        floored=found.floored,
    )


def _verdict(quantity: Quantity, found: Estimate | None, diverged: Diverged) -> Verdict:
    if diverged.any:
        if quantity.kind not in ("score", "stability") or not diverged.adjusted < ALPHA:
            return "undecided"
        return "worse" if diverged.ours * diverged.theirs_of > diverged.theirs * diverged.ours_of else "better"
    if found is None or found.n < FEWEST_SEEDS or math.isnan(found.p):
        return "undecided"
    if found.adjusted < ALPHA:
        if quantity.higher_is_better is None:
            return "higher" if found.mean > 0 else "lower"
        return "better" if (found.mean > 0) == quantity.higher_is_better else "worse"
    return "equal" if found.tost_adjusted is not None and found.tost_adjusted < ALPHA else "undecided"
