"""What a comparison has on its two sides: a variant, or the effect of one variant against another."""

from __future__ import annotations

from dataclasses import dataclass

from app.study.plan import Variant


@dataclass(frozen=True)
class Effect:
    """What a variant adds to another: the difference of their scores, seed by seed.

    Comparing two effects is a contrast of differences, such as (simple - detach) - (detach - none).

    Args:
        variant: the one with it.
        without: the one that it is taken away from.
    """

    variant: Variant
    without: Variant

    @property
    def label(self) -> str:
        """Both labels, for tables and sentences."""
        return f"({self.variant.label} - {self.without.label})"


Side = Variant | Effect


def weights_of(ours: Side, theirs: Side) -> dict[Variant, int]:
    """The factor of each variant in ours minus theirs; they add up to 0."""
    weights: dict[Variant, int] = {}
    for side, sign in ((ours, 1), (theirs, -1)):
        terms = ((side, 1),) if isinstance(side, Variant) else ((side.variant, 1), (side.without, -1))
        for variant, factor in terms:
            weights[variant] = weights.get(variant, 0) + sign * factor
    return {variant: weight for variant, weight in weights.items() if weight}
