"""The paper's claims and what a study says of each: supported, contradicted or undecided, with the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from app.study.analysis.tables import Analysis, Comparison, Table
from app.study.plan import Variant

Judgement = Literal["supported", "contradicted", "undecided"]


@dataclass(frozen=True)
class Answer:
    """What one condition says of one claim.

    Attributes:
        claim: number and words of the claim.
        name: of the condition's table: dataset and model.
        verdict: supported where all comparisons of the claim are shown in its direction, contradicted where one is
            shown against it, else undecided.
        numbers: each comparison in words.
    """

    claim: str
    name: str
    verdict: Judgement
    numbers: str


@dataclass(frozen=True)
class _Expected:
    """The claim that `norm` does better than `other` in a quantity, or worse; the quantity "" is the test score."""

    quantity: str
    norm: str
    other: str
    verdict: Literal["better", "worse"]


_CLAIMS = {
    "1: gain and bias overfit; a model without them does better": [
        _Expected("", "layernorm_simple", "layernorm", "better")
    ],
    "2: the derivatives of mean and variance matter: the same forward pass without them does worse": [
        _Expected("", "detachnorm", "layernorm_simple", "worse")
    ],
    "3: AdaNorm does better than LayerNorm": [_Expected("", "adanorm", "layernorm", "better")],
    "4: LayerNorm reaches a lower train loss and a higher valid loss than AdaNorm": [
        _Expected("train loss", "layernorm", "adanorm", "better"),
        _Expected("valid loss", "layernorm", "adanorm", "worse"),
    ],
}


def asked(table: Table) -> list[tuple[str, Variant, Variant]]:
    """What the claims compare in a table: quantity, ours and theirs."""
    return [one for expected in _CLAIMS.values() for one in _found(table, expected)]


def answers(analysis: Analysis) -> list[Answer]:
    """All claims on all conditions that have the norms for them."""
    answered = []
    for table in analysis.tables:
        for claim, expected in _CLAIMS.items():
            names = _found(table, expected)
            found = [analysis.find(quantity, table.condition, ours, theirs) for quantity, ours, theirs in names]
            known = [one for one in found if one is not None]
            if len(known) == len(expected):
                numbers = "; ".join(one.words for one in known)
                answered.append(Answer(claim, table.name, _judgement(expected, known), numbers))
    return answered


def _judgement(expected: Sequence[_Expected], found: Sequence[Comparison]) -> Judgement:
    agree = [one.verdict == claim.verdict for claim, one in zip(expected, found, strict=True)]
    if any(one.is_shown and not agrees for one, agrees in zip(found, agree, strict=True)):
        return "contradicted"
    return "supported" if all(agree) else "undecided"


def _found(table: Table, expected: Sequence[_Expected]) -> list[tuple[str, Variant, Variant]]:
    rows = [(one.quantity, table.plain_row(one.norm), table.plain_row(one.other)) for one in expected]
    return [
        (quantity or table.metric.name, ours.variant, theirs.variant)
        for quantity, ours, theirs in rows
        if ours is not None and theirs is not None
    ]
