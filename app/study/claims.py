"""The paper's claims and what a study says of each: supported, contradicted or undecided, with the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from app.study.comparison import Score, Table, compare, test_score
from app.study.statistics import FEWEST_SEEDS, Difference, holm

Verdict = Literal["supported", "contradicted", "undecided"]


@dataclass(frozen=True)
class Answer:
    """What one config says of one claim.

    Attributes:
        claim: number and words of the claim.
        name: of the config's table: dataset and model.
        verdict: supported where all comparisons of the claim are shown in its direction, contradicted where one is
            shown against it, else undecided.
        numbers: each comparison in words.
    """

    claim: str
    name: str
    verdict: Verdict
    numbers: str


@dataclass(frozen=True)
class _Comparison:
    """The claim that `norm` minus `other` in a score is above 0 (sign 1) or below 0 (sign -1)."""

    quantity: str
    norm: str
    other: str
    score: Score
    sign: int


def answers(tables: Sequence[Table]) -> list[Answer]:
    """All claims on all configs that have the norms for them; p values are corrected over these together."""
    asked = []
    for table in tables:
        for claim, comparisons in _claims(table):
            found = [(one, difference) for one in comparisons if (difference := _difference(table, one)) is not None]
            if len(found) == len(comparisons):
                asked.append((table, claim, found))
    p_values = iter(holm([difference.p_value for _, _, found in asked for _, difference in found]))
    answered = []
    for table, claim, found in asked:
        signs, numbers = [], []
        for one, difference in found:
            shown = next(p_values) < 0.05 and difference.n >= FEWEST_SEEDS
            signs.append((1 if difference.mean > 0 else -1) * one.sign if shown else 0)
            numbers.append(_in_words(one, difference, shown))
        verdict: Verdict = "supported" if all(s > 0 for s in signs) else "undecided"
        verdict = "contradicted" if any(s < 0 for s in signs) else verdict
        answered.append(Answer(claim, table.name, verdict, "; ".join(numbers)))
    return answered


def _claims(table: Table) -> list[tuple[str, list[_Comparison]]]:
    better = 1 if table.metric.higher_is_better else -1
    test, score = f"test {table.metric.name}", test_score(table.metric)
    train_loss, valid_loss = (
        lambda result, split=split: float(result["final"][split]["loss"]) for split in ("train_probe", "val")
    )
    return [
        (
            "1: gain and bias overfit; a model without them does better",
            [_Comparison(test, "layernorm_simple", "layernorm", score, better)],
        ),
        (
            "2: the derivatives of mean and variance matter: the same forward pass without them does worse",
            [_Comparison(test, "detachnorm", "layernorm_simple", score, -better)],
        ),
        ("3: AdaNorm does better than LayerNorm", [_Comparison(test, "adanorm", "layernorm", score, better)]),
        (
            "4: LayerNorm reaches a lower train loss and a higher valid loss than AdaNorm",
            [
                _Comparison("train loss", "layernorm", "adanorm", train_loss, -1),
                _Comparison("valid loss", "layernorm", "adanorm", valid_loss, 1),
            ],
        ),
    ]


def _difference(table: Table, one: _Comparison) -> Difference | None:
    norm, other = table.row(one.norm), table.row(one.other)
    return compare(norm.results, other.results, one.score) if norm and other else None


def _in_words(one: _Comparison, difference: Difference, shown: bool) -> str:
    text = f"{one.quantity}, {one.norm} minus {one.other}: {difference.mean:+.3f}"
    if difference.n < FEWEST_SEEDS:
        return f"{text} over {difference.n} paired seeds, too few"
    low, high = difference.t_interval
    verdict = "shown" if shown else "no difference shown after Holm's correction"
    return f"{text} (95 % interval {low:+.3f} to {high:+.3f}, {difference.n} seeds), {verdict}"
