"""The paper's claims, by name, and what a study says of each: supported, contradicted or undecided, with the number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.study.comparison import Table, compare, test_score
from app.study.statistics import FEWEST_SEEDS, Difference, holm

Verdict = Literal["supported", "contradicted", "undecided"]


@dataclass(frozen=True)
class Answer:
    """What one config says of one claim.

    Attributes:
        claim: number and words of the claim.
        dataset: of the config.
        verdict: supported where all comparisons of the claim are shown in its direction, contradicted where one is
            shown against it, else undecided.
        numbers: each comparison in words.
    """

    claim: str
    dataset: str
    verdict: Verdict
    numbers: str


@dataclass(frozen=True)
class _Comparison:
    """`norm` less `other` in a score, which the claim says is above 0 (sign 1) or below (sign -1)."""

    words: str
    norm: str
    other: str
    score: Callable[[dict[str, Any]], float]
    sign: int


def answers(tables: Sequence[Table]) -> list[Answer]:
    """All claims on all configs that have the norms for them; p values are corrected over these together."""
    asked = [(table, claim, comparisons) for table in tables for claim, comparisons in _claims(table)]
    found = [[_difference(table, one) for one in comparisons] for table, _, comparisons in asked]
    p_values = iter(holm([d.p_value for row in found for d in row if d is not None]))
    answered = []
    for (table, claim, comparisons), differences in zip(asked, found, strict=True):
        if any(difference is None for difference in differences):
            continue
        signs, numbers = [], []
        for one, difference in zip(comparisons, differences, strict=True):
            assert difference is not None
            shown = next(p_values) < 0.05 and difference.n >= FEWEST_SEEDS
            signs.append((1 if difference.mean > 0 else -1) * one.sign if shown else 0)
            numbers.append(_in_words(one, difference, shown))
        verdict: Verdict = "supported" if all(s > 0 for s in signs) else "undecided"
        verdict = "contradicted" if any(s < 0 for s in signs) else verdict
        answered.append(Answer(claim, table.dataset, verdict, "; ".join(numbers)))
    return answered


def _claims(table: Table) -> list[tuple[str, list[_Comparison]]]:
    better = 1 if table.metric.higher_is_better else -1
    score, name = test_score(table.metric), table.metric.name

    def final(part: str) -> Callable[[dict[str, Any]], float]:
        return lambda result: float(result["final"][part]["loss"])

    return [
        (
            "1: gain and bias over-fit; without them a model does better",
            [
                _Comparison(
                    f"test {name}, layernorm_simple less layernorm", "layernorm_simple", "layernorm", score, better
                )
            ],
        ),
        (
            "2: the derivatives of mean and variance matter: the same forward without them does worse",
            [
                _Comparison(
                    f"test {name}, detachnorm less layernorm_simple", "detachnorm", "layernorm_simple", score, -better
                )
            ],
        ),
        (
            "3: AdaNorm does better than LayerNorm",
            [_Comparison(f"test {name}, adanorm less layernorm", "adanorm", "layernorm", score, better)],
        ),
        (
            "4: LayerNorm reaches a lower train loss and a higher valid loss than AdaNorm",
            [
                _Comparison("train loss, layernorm less adanorm", "layernorm", "adanorm", final("train_probe"), -1),
                _Comparison("valid loss, layernorm less adanorm", "layernorm", "adanorm", final("val"), 1),
            ],
        ),
    ]


def _difference(table: Table, one: _Comparison) -> Difference | None:
    norm, other = table.row(one.norm), table.row(one.other)
    if norm is None or other is None:
        return None
    return compare(norm.results, other.results, one.score)


def _in_words(one: _Comparison, difference: Difference, shown: bool) -> str:
    low, high = difference.t_interval
    if difference.n < FEWEST_SEEDS:
        return f"{one.words}: {difference.mean:+.3f} over {difference.n} paired seeds, too few"
    return f"{one.words}: {difference.mean:+.3f} (95 % interval {low:+.3f} to {high:+.3f}, {difference.n} seeds), " + (
        "shown" if shown else "no difference shown after Holm's correction"
    )
