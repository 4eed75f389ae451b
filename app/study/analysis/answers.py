"""What a study says of claims: supported, contradicted or undecided, by the comparisons that it has anyway.

No number is computed twice: a claim quotes the comparison of a family, with the p value that tables and csv have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from app.backbones.placement import PlacementSpec
from app.study.analysis.sides import Effect, Side
from app.study.analysis.tables import Analysis, Comparison, Table
from app.study.claims import SCORE, Claim, Prediction
from app.study.plan import Study
from app.study.statistics.equivalence import equal_within
from app.study.statistics.estimate import ALPHA, FEWEST_SEEDS
from app.study.statistics.multiplicity import holm
from app.study.statistics.paired import Mean
from app.study.statistics.replication import at_least

Judgement = Literal["supported", "contradicted", "undecided", "preliminary", "not asked"]
Question = tuple[str, Side, Side]  # the name of a quantity, ours and theirs


@dataclass(frozen=True)
class Finding:
    """What one condition says of a claim.

    Attributes:
        table: the condition.
        placement: the one that the claim is asked in.
        verdict: supported where all predictions are shown, contradicted where one is shown to be wrong.
        words: each comparison in words.
        p_for: of the test that the claim does not hold here, for this condition alone.
        p_against: of the test that it holds here, likewise.
    """

    table: Table
    placement: PlacementSpec
    verdict: Judgement
    words: str
    p_for: float
    p_against: float

    @property
    def name(self) -> str:
        """Dataset and model, and the placement where it is not native."""
        return f"{self.table.name}{self.placement.suffix}"


@dataclass(frozen=True)
class Answer:
    """What a study says of a claim.

    Attributes:
        title: the claim and its source.
        verdict: of all conditions together: whether it holds on the share of them that its authors say, else on most;
            where the study tunes, at each variant's own best values.
        words: the numbers of the only condition, or on how many the claim holds.
        findings: of each condition.
    """

    title: str
    verdict: Judgement
    words: str
    findings: tuple[Finding, ...] = ()

    @property
    def details(self) -> list[str]:
        """What each condition says, where there are several."""
        several = self.findings if len(self.findings) > 1 else ()
        return [f"{finding.name}: {finding.verdict}. {finding.words}" for finding in several]


def asked(claims: Sequence[Claim], study: Study, table: Table) -> list[Question]:
    """What claims compare under a condition, for the families of the study to have it.

    Args:
        claims: the study's claims.
        study: the study.
        table: the condition; only its task, dataset and metric count.
    """
    return [
        question
        for claim in claims
        if claim.is_about(table.task, table.dataset)
        for placement in _placements(claim, study)
        if not missing(claim, study, placement)
        for question in _questions(claim, study, placement, table)
    ]


def answers(claims: Sequence[Claim], found: Analysis) -> list[Answer]:
    """What an analysis says of claims; those that it cannot answer come last, in one answer."""
    answered, unasked = [], []
    for claim in claims:
        tables = [table for table in found.tables if claim.is_about(table.task, table.dataset)]
        places = _placements(claim, found.study)
        lacking = [label for placement in places for label in missing(claim, found.study, placement)]
        findings = [
            _finding(claim, found, table, placement)
            for table in tables
            for placement in places
            if not missing(claim, found.study, placement)
        ]
        if findings:
            answered.append(_answer(claim, findings, found))
        elif not tables:
            unasked.append(f"{claim.id} (is about {', '.join((*claim.tasks, *claim.datasets))})")
        else:
            needed = dict.fromkeys(lacking or claim.placements)
            unasked.append(f"{claim.id} (needs {', '.join(needed)})")
    if unasked:
        answered.append(Answer("the study lacks what these claims compare", "not asked", "; ".join(unasked)))
    return answered


def _placements(claim: Claim, study: Study) -> list[PlacementSpec]:
    if not claim.placements:
        return [study.baseline.placement]
    return [placement for placement in study.placements if placement.name in claim.placements]


def _labels(prediction: Prediction, placement: PlacementSpec) -> list[list[str]]:
    return [[named.label_in(placement) for named in side] for side in (prediction.variant, prediction.other)]


def missing(claim: Claim, study: Study, placement: PlacementSpec) -> list[str]:
    """What the study lacks for a claim: labels of its variants, or a second one where both sides are the same here."""
    known = {variant.label for variant in study.variants}
    pairs = [_labels(one, placement) for one in claim.predictions]
    labels = dict.fromkeys(label for pair in pairs for side in pair for label in side)
    alike = [f"another variant than {', '.join(ours)}" for ours, theirs in pairs if ours == theirs]
    return [label for label in labels if label not in known] + alike


def _questions(claim: Claim, study: Study, placement: PlacementSpec, table: Table) -> list[Question]:
    by_label = {variant.label: variant for variant in study.variants}
    questions = []
    for one in claim.predictions:
        sides: list[Side] = []
        for labels in _labels(one, placement):
            first, *rest = (by_label[label] for label in labels)
            sides.append(Effect(first, rest[0]) if rest else first)
        name = table.metric.name if one.quantity == SCORE else one.quantity
        questions.append((f"{name} at best" if one.at == "best" else name, sides[0], sides[1]))
    return questions


def _finding(claim: Claim, found: Analysis, table: Table, placement: PlacementSpec) -> Finding:
    questions = _questions(claim, found.study, placement, table)
    pairs = [
        (one, comparison)
        for one, (quantity, ours, theirs) in zip(claim.predictions, questions, strict=True)
        if (comparison := found.find(quantity, table.condition, ours, theirs)) is not None
    ]
    if len(pairs) < len(questions):  # runs that diverged lack a quantity, and those of earlier versions
        known = {(one.quantity, one.at) for one, _ in pairs}
        lacking = dict.fromkeys(one.quantity for one in claim.predictions if (one.quantity, one.at) not in known)
        so_far: Judgement = "preliminary" if found.preliminary else "undecided"
        return Finding(table, placement, so_far, f"no finished run has {', '.join(lacking)}", 1.0, 1.0)
    states = [_state(*pair) for pair in pairs]
    verdict: Judgement = "supported" if all(state == "shown" for state in states) else "undecided"
    if "wrong" in states:
        verdict = "contradicted"
    if any(comparison.verdict == "preliminary" for _, comparison in pairs):
        verdict = "preliminary"
    chances = [_chances(*pair) for pair in pairs]
    return Finding(
        table,
        placement,
        verdict,
        "; ".join(_in_words(*pair) for pair in pairs),
        p_for=max(chance for chance, _ in chances),
        p_against=min(1.0, len(chances) * min(chance for _, chance in chances)),
    )


def _answer(claim: Claim, every: Sequence[Finding], found: Analysis) -> Answer:
    """The answer of all findings; where the study tunes, only of those at each variant's own best values."""
    title, at, findings = f"{claim.words} ({claim.source}).", "", every
    if found.study.tuning is not None:
        last = [places[-1].condition for one in found.study.conditions if (places := found.places(one))]
        findings = [finding for finding in every if finding.table.condition in last] or every
        at = f"At each variant's own best {', '.join(found.study.tuning.keys)}: "
    if len(findings) == 1:
        return Answer(title, findings[0].verdict, at + findings[0].words, tuple(every))
    n, are_datasets = len(findings), _are_independent(findings)
    k, of = claim.published or (0, 1)
    needed = math.ceil(k * n / of) if k else n // 2 + 1
    names = [finding.table.dataset if are_datasets else finding.name for finding in findings]
    shown = [name for name, finding in zip(names, findings, strict=True) if finding.verdict == "supported"]
    wrong = [name for name, finding in zip(names, findings, strict=True) if finding.verdict == "contradicted"]
    low = max(_bound(findings, [finding.p_for for finding in findings]), len(shown))
    high = n - max(_bound(findings, [finding.p_against for finding in findings]), len(wrong))
    what = "datasets" if are_datasets else "conditions"
    if any(finding.verdict == "preliminary" for finding in findings):
        return Answer(title, "preliminary", f"Asked on {n} {what}", tuple(every))
    verdict: Judgement = "supported" if low >= needed else "contradicted" if high < needed else "undecided"
    text = f"{at}It holds on at least {low} and at most {high} of {n} {what} (95 % confidence each)"
    for words, some in (("Shown on their own", shown), ("Contradicted", wrong)):
        if some:
            text += f". {words}: {(', ' if are_datasets else '; ').join(some)}"
    if claim.published:
        text += f". Its authors: {k} of {of} datasets"
    return Answer(title, verdict, text, tuple(every))


def _are_independent(findings: Sequence[Finding]) -> bool:
    """Whether no two findings are of one dataset."""
    return len({finding.table.dataset for finding in findings}) == len(findings)


def _bound(findings: Sequence[Finding], p_values: Sequence[float]) -> int:
    """On at least how many conditions it is so: by Fisher's method over datasets, by Holm's where they are shared."""
    if _are_independent(findings):
        return at_least(p_values)
    return sum(p < ALPHA for p in holm(p_values))


def _sign(prediction: Prediction, found: Comparison) -> int:
    """The predicted sign of ours minus theirs."""
    sign = -1 if prediction.expected in ("worse", "lower") else 1
    is_direction = prediction.expected in ("better", "worse", "not worse")
    return -sign if is_direction and found.quantity.higher_is_better is False else sign


def _margin(prediction: Prediction, found: Comparison) -> float:
    """What does not count as a difference, in this prediction: nothing where it is of a direction."""
    if prediction.expected not in ("equal", "not worse"):
        return 0.0
    return prediction.margin.get(found.quantity.name, found.margin or 0.0)


def _state(prediction: Prediction, found: Comparison) -> Literal["shown", "wrong", "open"]:
    """Whether a prediction is shown, shown to be wrong, or neither, by what is adjusted for its family."""
    sign, numbers, expected = _sign(prediction, found), found.estimate, prediction.expected
    if found.diverged.any:  # of a run that diverged nothing is known but that its score is the worst
        if found.quantity.kind != "score" or expected == "equal" or not found.is_shown:
            return "open"
        better = -1 if found.quantity.higher_is_better is False else 1
        return "shown" if (found.verdict == "better") == (sign == better) else "wrong"
    if numbers is None or numbers.n < FEWEST_SEEDS or math.isnan(numbers.p):
        return "open"
    if expected not in ("equal", "not worse"):
        return "open" if not found.is_shown else "shown" if numbers.mean * sign > 0 else "wrong"
    low, high = sorted(sign * end for end in numbers.simultaneous)
    margin, two_sided = _margin(prediction, found), expected == "equal"
    tested = numbers.tost_adjusted if two_sided else numbers.not_worse_adjusted
    is_tested = margin == found.margin and tested is not None and tested < ALPHA
    if is_tested or (low > -margin and not (two_sided and high >= margin)):
        return "shown"
    return "wrong" if high < -margin or (two_sided and low > margin) else "open"


def _chances(prediction: Prediction, found: Comparison) -> tuple[float, float]:
    """One-sided p values, for this condition alone, of the tests that a prediction is wrong and that it is right."""
    state, numbers, margin = _state(prediction, found), found.estimate, _margin(prediction, found)
    if found.diverged.any:
        p = found.diverged.p
        return (p if state == "shown" else 1.0), (p if state == "wrong" else 1.0)
    if numbers is None or numbers.n < FEWEST_SEEDS or math.isnan(numbers.p):
        return 1.0, 1.0
    mean = Mean(_sign(prediction, found) * numbers.mean, numbers.se, numbers.df)
    if prediction.expected == "equal":
        return equal_within(mean, margin), min(1.0, 2 * min(mean.p_above(margin), 1 - mean.p_above(-margin)))
    if margin:
        return mean.p_above(-margin), 1 - mean.p_above(-margin)
    half = numbers.p / 2  # of all looks of the study together
    return (half, 1 - half) if mean.value > 0 else (1 - half, half)


def _in_words(prediction: Prediction, found: Comparison) -> str:
    """The comparison's own sentence, and what was predicted where that is not a difference."""
    margin = _margin(prediction, found)
    numbers = found.estimate
    if not margin or numbers is None or math.isnan(numbers.p) or found.diverged.any:
        return found.words
    shown = "shown" if _state(prediction, found) == "shown" else "not shown"
    what = "equal within" if prediction.expected == "equal" else f"not worse than {found.other.label} by"
    return f"{found.words}; that {found.variant.label} is {what} {margin:g}: {shown}"
