"""What the runs of a family of comparisons say at one look: means, errors and divergences, before any verdict."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from app.metrics import MetricInfo
from app.study.analysis.examples import shares_in_score
from app.study.analysis.pairing import difference_of
from app.study.analysis.quantities import Quantity
from app.study.analysis.sides import Side, weights_of
from app.study.analysis.tables import Row, Table
from app.study.plan import Variant
from app.study.statistics.blocks import Variance, alike, residual_variance, shrunken
from app.study.statistics.examples import Components, components, satterthwaite
from app.study.statistics.multiplicity import Block
from app.study.statistics.paired import Mean, lattice_step, standard_deviation
from app.study.trials import run_folder


@dataclass(frozen=True)
class Declared:
    """A comparison that the study declares: ours minus theirs in a quantity, in one table."""

    table: Table
    quantity: Quantity
    variant: Side
    other: Side

    @cached_property
    def terms(self) -> list[tuple[Row, int]]:
        """The rows that it is a sum of, with their factors: 1 for ours and -1 for theirs, where these are variants."""
        weights = weights_of(self.variant, self.other)
        return [(self.table.row(variant), weight) for variant, weight in weights.items()]

    @property
    def pair(self) -> frozenset[str]:
        """Both labels: a comparison is the same either way round."""
        return frozenset((self.variant.label, self.other.label))

    @property
    def spread(self) -> float:
        """Its variance in the unit of that of a difference of two scores."""
        return sum(weight**2 for _, weight in self.terms) / 2

    @property
    def runs(self) -> tuple[tuple[int, Path | str], ...]:
        """What tells the runs that it is a sum of from others, with their factors: the folder of the first seed's.

        After a look a variant may have further seeds in one table and not in another.
        """
        return tuple(
            (weight, row.trials[min(row.trials)].root if row.trials else row.variant.label)
            for row, weight in self.terms
        )

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes it another comparison: a quantity of other runs."""
        return self.quantity.name, self.runs

    def has_ended(self, seeds: Collection[int]) -> bool:
        """Whether all its runs with these seeds have finished or diverged."""
        return all(set(seeds) <= row.results.keys() | set(row.diverged) for row, _ in self.terms)

    @property
    def block(self) -> tuple[str, str]:
        """Comparisons of one block share seeds and the variance of their scores."""
        return self.table.condition, self.quantity.name


def divergences(one: Declared, seeds: Collection[int]) -> tuple[int, int, int, int]:
    """Runs with these seeds that diverged or collapsed and runs that ended, of ours and of theirs."""
    ended = [set(seeds) & (set(row.diverged) | row.results.keys()) for row, _ in one.terms]
    if isinstance(one.variant, Variant) and isinstance(one.other, Variant):
        (ours, _), (theirs, _) = one.terms
        return len(ours.failed & ended[0]), len(ended[0]), len(theirs.failed & ended[1]), len(ended[1])
    # of effects: seeds on which the sum is the worst, and the best, if a run that failed has the worst score of all
    known = set.intersection(*ended)
    sums = [sum(weight for row, weight in one.terms if seed in row.failed) for seed in known]
    return sum(found > 0 for found in sums), len(known), sum(found < 0 for found in sums), len(known)


@dataclass(frozen=True)
class Pairs:
    """The paired scores of a comparison.

    Attributes:
        seeds: those that are paired and have the quantity.
        scores: (seeds, terms of the comparison).
        weights: of the terms.
        unpaired: why other seeds that both have are not among them.
    """

    seeds: tuple[int, ...]
    scores: np.ndarray
    weights: np.ndarray
    unpaired: str

    @cached_property
    def differences(self) -> np.ndarray:
        """Ours minus theirs by seed."""
        return self.scores @ self.weights


def pairs(one: Declared, among: Collection[int]) -> Pairs:
    """Pair the runs of a comparison by seed."""
    rows = [row for row, _ in one.terms]
    found, unlike = {}, {}
    for seed in sorted(set(among).intersection(*(row.results.keys() - row.failed for row in rows))):
        first, *others = (row.results[seed] for row in rows)
        values = [one.quantity.value(row.results[seed]) for row in rows]
        varied = {key for row in rows for key in (*row.variant.overrides, *row.trials[seed].tuned)}
        if reason := next((why for other in others if (why := difference_of(first, other, varied))), ""):
            unlike[seed] = reason
        elif None not in values:
            found[seed] = values
    text = ""
    if unlike:
        which = f"seed{'s' * (len(unlike) > 1)} {', '.join(map(str, unlike))}"
        reasons = "; ".join(dict.fromkeys(unlike.values()))
        text = f"{one.variant.label} and {one.other.label} are not paired on {which}: their runs differ in {reasons}"
    scores = np.array(list(found.values()), dtype=float).reshape(-1, len(rows))
    return Pairs(tuple(found), scores, np.array([weight for _, weight in one.terms]), text)


@dataclass(frozen=True)
class Evidence:
    """A comparison's mean and error.

    Attributes:
        declared: the comparison.
        pairs: its paired scores.
        variance: of differences over seeds, as used.
        examples: what the test set contributes; None without per-example results of one test set for all seeds.
        mean: the mean difference with its standard error.
        floored: whether the variance was raised to what rounding or the test set alone must cause.
    """

    declared: Declared
    pairs: Pairs
    variance: Variance
    examples: Components | None
    mean: Mean
    floored: bool

    @property
    def is_tested(self) -> bool:
        """Whether it has a p value."""
        return self.mean.is_known


def gather(declared: Sequence[Declared], seeds: Collection[int]) -> list[Evidence]:
    """The evidence of all comparisons of a family, from runs with these seeds."""
    paired = [pairs(one, seeds) for one in declared]
    by_block: dict[tuple[str, str], list[int]] = {}
    for place, one in enumerate(declared):
        by_block.setdefault(one.block, []).append(place)
    found: dict[int, Evidence] = {}
    for places in by_block.values():
        ones, own = [declared[place] for place in places], [paired[place] for place in places]
        pool, step = _pool(ones, own), _step(ones, own)
        for place in places:
            found[place] = _evidence(declared[place], paired[place], pool, step)
    return [found[place] for place in range(len(declared))]


def blocks(evidence: Sequence[Evidence]) -> tuple[list[Block], list[int]]:
    """The tested comparisons in blocks, for their joint distribution, and the places that these have in `evidence`."""
    by_block: dict[tuple[str, str], list[int]] = {}
    for place, one in enumerate(evidence):
        if one.is_tested:
            by_block.setdefault(one.declared.block, []).append(place)
    found = []
    for places in by_block.values():
        cells: dict[tuple[str, int], int] = {}
        contrasts = np.zeros((len(places), sum(evidence[place].pairs.scores.size for place in places)))
        for row, place in enumerate(places):
            one = evidence[place]
            for seed in one.pairs.seeds:
                for of, weight in one.declared.terms:
                    column = cells.setdefault((of.variant.label, seed), len(cells))
                    contrasts[row, column] = weight / len(one.pairs.seeds)
        contrasts /= np.linalg.norm(contrasts, axis=1, keepdims=True)
        df = np.array([evidence[place].mean.df for place in places])
        shared = min(min(evidence[place].variance.shared for place in places), float(df.min()))
        found.append(Block(contrasts @ contrasts.T, df, shared))
    return found, [place for places in by_block.values() for place in places]


@dataclass(frozen=True)
class _Pool:
    """The variance of differences as variants that vary alike have it.

    Controls are not among them, for a null twin is more like the baseline than a norm can be; they only borrow it.

    Attributes:
        variance: of a difference of two scores.
        df: its degrees of freedom.
        labels: of these variants.
    """

    variance: float
    df: float
    labels: frozenset[str]

    def has(self, one: Declared) -> bool:
        """Whether a comparison is of these variants and controls alone."""
        return self.labels >= {row.variant.label for row, _ in one.terms if not row.variant.control}


def _pool(ones: Sequence[Declared], paired: Sequence[Pairs]) -> _Pool:
    """The pool of a block: no less than the mean of its comparisons' own variances.

    That is larger where the baseline, which all share, is the noisy one.
    """
    plain = list(zip(ones, paired, strict=True))
    plain = [(one, own) for one, own in plain if not any(row.variant.control for row, _ in one.terms)] or plain
    seeds = sorted({seed for _, own in plain for seed in own.seeds})
    labels = sorted({row.variant.label for one, _ in plain for row, _ in one.terms})
    table = np.full((len(seeds), len(labels)), np.nan)
    for one, own in plain:
        at = [seeds.index(seed) for seed in own.seeds]
        table[np.ix_(at, [labels.index(row.variant.label) for row, _ in one.terms])] = own.scores
    kept = alike(table)
    variance, df = residual_variance(table[:, kept])
    pool = _Pool(2 * variance, df, frozenset(labels[column] for column in kept))
    variances = [
        standard_deviation(own.differences) ** 2 / one.spread
        for one, own in plain
        if len(own.seeds) > 1 and pool.has(one)
    ]
    return replace(pool, variance=max(pool.variance, sum(variances) / max(1, len(variances))))


def _step(ones: Sequence[Declared], paired: Sequence[Pairs]) -> float:
    """The distance of two neighbouring scores where they are shares of N test examples; 0 where they are not."""
    if ones[0].quantity.kind != "score" or not ones[0].table.metric.is_share:
        return 0.0
    return 100 * lattice_step(np.concatenate([own.scores.ravel() for own in paired]) / 100)


def _evidence(one: Declared, own: Pairs, pool: _Pool, step: float) -> Evidence:
    n = len(own.seeds)
    if n < 2:
        mean = float(own.differences.mean()) if n else math.nan
        return Evidence(one, own, Variance(math.nan, 0, 0), None, Mean(mean, math.nan, 0), floored=False)
    sd = standard_deviation(own.differences)
    variance = shrunken(sd**2, n - 1, one.spread * pool.variance, pool.df if pool.has(one) else 0)
    examples = _components(one, own)
    least = max(one.spread * step**2 / 12, examples.residual if examples else 0.0)
    floored = variance.value < least
    if floored:
        variance = variance._replace(value=least)
    if sd == 0 and examples is None:  # a lattice so coarse that all differences are equal tells nothing of their spread
        variance = variance._replace(value=math.nan)
    mean = float(own.differences.mean())
    of_seeds, of_examples = variance.value / n, examples.persistent if examples else 0.0
    df = satterthwaite((of_seeds, of_examples), (variance.df, examples.examples - 1)) if examples else variance.df
    return Evidence(one, own, variance, examples, Mean(mean, math.sqrt(of_seeds + of_examples), df), floored)


def _components(one: Declared, own: Pairs) -> Components | None:
    """The variance that examples cause; None where each seed has a test set of its own, and so holds that variance."""
    if one.quantity.kind != "score":
        return None
    if len({one.terms[0][0].results[seed]["data_fingerprint"] for seed in own.seeds}) > 1:
        return None
    tables = []
    for row, weight in one.terms:
        shares = [_shares(row, seed, one.table.metric) for seed in own.seeds]
        known = [found for found in shares if found is not None]
        if len(known) < len(shares) or len({len(found) for found in known}) > 1:
            return None
        tables.append(weight * np.stack(known))
    return components(np.sum(tables, axis=0)) if len({table.shape for table in tables}) == 1 else None


def _shares(row: Row, seed: int, metric: MetricInfo) -> np.ndarray | None:
    folder = run_folder(row.trials[seed])
    return shares_in_score(folder, metric, row.results[seed]["test"][metric.name]) if folder else None
