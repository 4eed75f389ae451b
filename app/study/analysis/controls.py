"""Whether the planted variants of a study are found as what they are: the null twin equal, the broken norm worse."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.study.analysis.tables import Comparison
from app.study.plan import Study


@dataclass(frozen=True)
class Controls:
    """What a study says of its null twin and of its broken norm.

    Attributes:
        are_right: whether no comparison tells the twin from the baseline, and the broken norm is found under each
            condition: its score is worse, or runs diverge or collapse, of which the baseline has none; None while
            planned runs are missing, and where they are too few to tell the broken norm from the baseline.
        words: the same in a sentence, with the numbers of what is wrong.
    """

    are_right: bool | None
    words: str


def controls_of(study: Study, comparisons: Iterable[Comparison]) -> Controls | None:
    """The answer of the controls; None for a study without them.

    Args:
        study: the study.
        comparisons: all of its families.
    """
    kinds = {variant: variant.control for variant in study.controls}
    ours = [(kinds[one.variant], one) for one in comparisons if one.variant in kinds and one.other == study.baseline]
    if not ours:
        return None
    if any(one.verdict == "preliminary" for _, one in ours):
        return Controls(None, "Preliminary: what the controls say is known when all runs are done")
    twins = [one for kind, one in ours if kind == "null-twin"]
    broken = [one for kind, one in ours if kind == "broken" and one.quantity.kind == "score"]
    hidden = [one for one in broken if not _is_found(one)]
    wrong = [one for one in twins if one.is_shown] + [one for one in hidden if one.is_decided]
    if wrong:
        return Controls(False, f"The controls are wrong, so do not trust differences of this size: {_listed(wrong)}")
    if hidden:
        return Controls(None, f"The study is too small to find even its broken norm: {_listed(hidden)}")
    return Controls(
        True,
        f"The controls are right: the null twin is not told from {study.baseline.label} in any of {len(twins)} "
        f"comparisons, and the broken norm is found in all {len(broken)} scores",
    )


def _listed(comparisons: Sequence[Comparison]) -> str:
    return "; ".join(f"{one.condition}: {one.words}" for one in comparisons)


def _is_found(broken: Comparison) -> bool:
    """Whether a broken norm shows: few seeds cannot prove by counts what any reader sees, so that one failure does."""
    failed = broken.diverged
    return broken.verdict == "worse" or (failed.ours > 0 and failed.theirs == 0)
