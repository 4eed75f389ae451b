"""The numbers of an analysis in words: one sentence a comparison, one paragraph a study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.study.analysis.sides import Effect
from app.study.statistics.estimate import ALPHA, FEWEST_SEEDS, Estimate, Ranged

if TYPE_CHECKING:
    from app.study.analysis.tables import Analysis, Comparison, Diverged
    from app.study.plan import Study


_MOST_NUMBERS = 3  # conditions of one verdict whose numbers the paragraph gives; tables have them all


def decimals(se: float) -> int:
    """The decimals that show two significant digits of a standard error; two where it is not known."""
    return 2 if math.isnan(se) or se <= 0 else min(max(0, 1 - math.floor(math.log10(se))), 12)


def number(value: float, se: float, signed: bool = False) -> str:
    """A number with two significant digits of its standard error, or with three of its own where that is not known.

    It is "" for nan.
    """
    sign = "+" if signed else ""
    if math.isnan(value):
        return ""
    if math.isnan(se) or se <= 0:
        return f"{value:{sign}.3g}"
    return f"{value:{sign}.{decimals(se)}f}"


def interval(low: float, high: float, se: float) -> str:
    """An interval in words; "" where it is not known."""
    return "" if math.isnan(low) else f"{number(low, se, signed=True)} to {number(high, se, signed=True)}"


def p_value(p: float) -> str:
    """A p value with an equals sign, or a bound for a tiny one; "" where it is nan."""
    if math.isnan(p) or p < 1e-4:
        return "" if math.isnan(p) else "p < 0.0001"
    rounded = f"{p:.2g}" if p < 0.1 else f"{p:.2f}"
    return f"p < {ALPHA:g}" if p < ALPHA <= float(rounded) else f"p = {rounded}"  # 0.0496 shows a difference


def seeds_in_words(found: Ranged) -> str:
    """A number of seeds with its interval, if it has one: 12 seeds (5 to 60)."""
    if math.isinf(found.value):
        return "more seeds than any study has"
    if found.low == found.high:
        return f"{found.value:,.0f} seeds"
    most = "any number" if math.isinf(found.high) else f"{found.high:,.0f}"
    return f"{found.value:,.0f} seeds ({found.low:,.0f} to {most})"


def estimand(study: Study, has_examples: bool) -> str:
    """What the means of a study are over, and for what they hold."""
    names = {"init": "initial weights", "order": "order of the batches", "dropout": "dropout", "split": "split"}
    over = [names[source] for source in study.vary] + (["fold"] if study.folds else [])
    has_one_split = "split" not in study.vary and study.folds is None
    text = f"the mean over seeds, which vary {_listed(over)}"
    if has_examples:
        return f"{text}, and over test examples such as these; for this split"
    return f"{text}; for this {'split and test set' if has_one_split else 'dataset'}"


def sentence(found: Comparison) -> str:
    """What a comparison says, divergences first, without a full stop."""
    parts = []
    if found.diverged.any and found.quantity.kind in ("score", "stability"):
        dead, ours, theirs = found.diverged, found.variant.label, found.other.label
        are_effects = isinstance(found.variant, Effect)
        parts.append(_worst_of_effects(dead, ours, theirs) if are_effects else divergences(dead, ours, theirs))
    if found.estimate is None:
        if found.quantity.kind == "stability":
            return parts[0] if parts else f"neither {found.variant.label} nor {found.other.label} diverged"
        nothing = "no seed has finished runs of both" if found.diverged.any else "no run is paired yet"
        if found.unpaired or not parts:
            parts.append(found.unpaired or f"{_pair(found)} in {found.quantity.name}: {nothing}")
        return "; ".join(parts)
    parts.append(_over_seeds(found, found.estimate))
    if found.unpaired:
        parts.append(found.unpaired)
    return "; ".join(parts)


def _failed(found: Diverged) -> str:
    return "diverged or collapsed" if found.collapsed else "diverged"


def divergences(found: Diverged, ours: str, theirs: str) -> str:
    """How often ours and theirs diverged or collapsed, with the p value of the difference."""
    of_ours, of_theirs = f"{found.ours} of {found.ours_of} seeds", f"{found.theirs} of {found.theirs_of}"
    text = f"{ours} {_failed(found)} on {of_ours}, {theirs} on {of_theirs}"
    return text if math.isnan(found.adjusted) else f"{text} ({p_value(found.adjusted)})"


def _worst_of_effects(found: Diverged, ours: str, theirs: str) -> str:
    """On how many seeds which of two effects is the lower, if runs that diverged have the worst score of all."""
    text = (
        f"with the worst score for runs that {_failed(found)}, {ours} is the lower on {found.ours} of "
        f"{found.ours_of} seeds, {theirs} on {found.theirs} of {found.theirs_of}"
    )
    return text if math.isnan(found.adjusted) else f"{text} ({p_value(found.adjusted)})"


def _over_seeds(found: Comparison, numbers: Estimate) -> str:
    ours, theirs, name = found.variant.label, found.other.label, found.quantity.name
    unit = f" {found.quantity.unit}" if found.quantity.unit not in ("", name) else ""
    mean = f"{number(numbers.mean, numbers.se, signed=True)}{unit}"
    if numbers.n < FEWEST_SEEDS or math.isnan(numbers.se):
        if numbers.n >= FEWEST_SEEDS and numbers.mean == 0:
            return f"{ours} and {theirs} are equal in {name} on all of {numbers.n} seeds"
        why = (
            "too few for a verdict" if numbers.n < FEWEST_SEEDS else "all with the same difference, so without an error"
        )
        return f"{_pair(found)} in {name}: {mean} over {numbers.n} paired seed{'s' * (numbers.n > 1)}, {why}"
    at = "" if found.look is None else f" at the look after {found.look} seeds"
    facts = f"{mean}, 95 % interval {interval(numbers.low, numbers.high, numbers.se)}, {numbers.n} seeds{at}"
    if found.diverged.any:
        return f"over the seeds that both survive, which decides nothing, {_pair(found)} in {name} is {facts}"
    if found.verdict == "preliminary":
        return f"preliminary, {_pair(found)} in {name}: {facts}"
    facts += f", adjusted {p_value(numbers.adjusted)}"
    if numbers.outliers:
        are = "s {} are" if len(numbers.outliers) > 1 else " {} is"
        facts += f"; seed{are.format(', '.join(map(str, numbers.outliers)))} far from the others"
    if found.is_shown:
        is_small = found.margin is not None and -found.margin < numbers.low and numbers.high < found.margin
        aside = f", by less than the margin of {found.margin:g}" if is_small else ""
        verb = {"better": "does better than", "worse": "does worse than"}.get(found.verdict, f"is {found.verdict} than")
        return f"{ours} {verb} {theirs} in {name}{aside}: {facts}"
    if found.verdict == "equal":
        return f"{ours} equals {theirs} in {name} within {found.margin:g}{unit}: {facts}"
    shown, se = numbers.detectable, numbers.se
    text = f"{ours} and {theirs} are not told apart in {name}: {facts}"
    if found.margin is None:
        text += f"; {_bounds(found, numbers)}"
    text += (
        f"; the minimum detectable difference is {number(shown.value, se)} "
        f"({number(shown.low, se)} to {number(shown.high, se)})"
    )
    if numbers.seeds_needed is not None:
        text += f", and {seeds_in_words(numbers.seeds_needed)} are needed to show {found.margin:g}"
    return text


def _pair(found: Comparison) -> str:
    return f"{found.variant.label} minus {found.other.label}"


def _bounds(found: Comparison, numbers: Estimate) -> str:
    """How large a difference the interval excludes."""
    low, high = -numbers.low, numbers.high
    if found.quantity.higher_is_better is None:
        return f"differences below {-low:+.2g} and above {high:+.2g} are excluded"
    names = ("decrease", "increase")
    if found.quantity.kind == "score":  # elsewhere a loss is also what is measured
        names = ("loss", "gain") if found.quantity.higher_is_better else ("gain", "loss")
    places = 10 ** decimals(numbers.se)
    bounds = [
        f"any {what} is below {number(math.ceil(bound * places) / places, numbers.se)}"  # never below 0
        for what, bound in zip(names, (low, high), strict=True)
        if bound > 0
    ]
    return " and ".join(bounds) + " (95 %)"


def paragraph(found: Analysis) -> str:
    """What a study answers: divergences, then for each variant where it differs from the other and where not."""
    sentences = []
    if found.preliminary:
        sentences.append(f"Preliminary: {found.done} of {found.total} runs are done, so there is no verdict yet")
    several = len(found.tables) > 1
    variants = [variant for variant in found.study.variants if variant.control is None]
    own = {
        variant: [(table.condition, one) for table in found.tables if (one := table.row(variant).comparison)]
        for variant in variants
    }
    for where, one in (place for places in own.values() for place in places):
        dead = one.diverged
        if dead.any:
            ours, theirs = one.variant.label, one.other.label
            text = (
                divergences(dead, ours, theirs)
                if dead.ours
                else f"{theirs} {_failed(dead)} on {dead.theirs} of {dead.theirs_of} seeds"
            )
            text = f"On {where}, {text}" if several else text
            sentences += [text] if text not in sentences else []
    if not found.preliminary:
        sentences += [_of_variant(variant.label, places, several) for variant, places in own.items() if places]
    if not sentences:
        sentences.append("No variant is compared with another")
    return " ".join(f"{text}." for text in sentences)


_VERBS = {
    "better": "does better than",
    "worse": "does worse than",
    "equal": "equals",
    "undecided": "cannot be told from",
}


def _of_variant(label: str, own: Sequence[tuple[str, Comparison]], several: bool) -> str:
    """Where a variant is better, worse, equal and undecided; with the numbers, unless these are many."""
    groups: dict[str, list[tuple[str, Comparison]]] = {}
    for verdict, verb in _VERBS.items():
        for where, one in own:
            if one.verdict == verdict:
                groups.setdefault(f"{verb} {one.other.label}", []).append((where, one))
    parts = []
    for verb, places in groups.items():
        texts = [
            (f"on {where}" if several else "") + (f" ({_briefly(one)})" if len(places) <= _MOST_NUMBERS else "")
            for where, one in places
        ]
        parts.append(f"{verb} {_listed([text.strip() for text in texts])}")
    return f"{label} {_listed(parts)}"


def _briefly(found: Comparison) -> str:
    numbers = found.estimate
    unit = f" {found.quantity.unit}" if found.quantity.unit not in ("", found.quantity.name) else ""
    if found.diverged.any:
        whose = "its divergences" if found.verdict == "worse" else f"the divergences of {found.other.label}"
        return f"by {whose}, {p_value(found.diverged.adjusted)}" if found.is_shown else "some runs diverged"
    if numbers is None or numbers.n < FEWEST_SEEDS:
        return "too few paired seeds"
    if math.isnan(numbers.se):
        return "all seeds have the same difference"
    if found.verdict == "equal":
        return f"within {found.margin:g}{unit}, {p_value(numbers.tost_adjusted or 0.0)}"
    if found.verdict == "undecided":
        return f"95 %: {_bounds(found, numbers).removesuffix(' (95 %)')}"
    return f"{number(numbers.mean, numbers.se, signed=True)}{unit}, {p_value(numbers.adjusted)}"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
