"""The numbers of one comparison: everything that a table, a sentence or a csv quotes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

CONFIDENCE, ALPHA, POWER = 0.95, 0.05, 0.8
FEWEST_SEEDS = 3  # with fewer there is no verdict


class Ranged(NamedTuple):
    """A number that depends on an estimated standard deviation, with the interval that this one's own yields."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """The mean of paired differences over seeds, ours minus theirs, in the unit of tables.

    Attributes:
        n: number of paired seeds.
        mean: mean of the differences.
        sd: standard deviation of the differences over seeds, as observed; nan for one seed.
        se: standard error of the mean, with all sources of variance; nan where it is not known.
        df: its degrees of freedom.
        low: lower end of the 95 % interval of the mean, for this comparison alone; where a study looks more than once,
            of one that holds at all looks together.
        high: upper end.
        p: of the test that the mean is 0, for this comparison alone.
        adjusted: p adjusted for the comparisons of its family; nan where there is no p.
        simultaneous: an interval that holds for all comparisons of the family together, with 95 %.
        tost_p: of the two one-sided tests that the mean is outside the margin; None without a margin.
        tost_adjusted: the same, adjusted for the family by Holm's method.
        not_worse_p: of the one-sided test that ours is worse by the margin or more; None without a margin.
        not_worse_adjusted: the same, adjusted for the family by Holm's method.
        detectable: the smallest true difference that this design shows with a power of 80 %, at the level that the
            family leaves to this comparison.
        seeds_needed: seeds to show a true difference as large as the margin, with the same power at the same level;
            infinite where the test set is too small for it; None without a margin or an error.
        sources: the parts of se squared: "seeds", and "examples" where per-example results are there.
        estimand: what the mean is over, in words.
        outliers: seeds whose difference is far from the others'.
        floored: the standard deviation over seeds was below what rounding or the test set alone must cause, and was
            raised to that.
    """

    n: int
    mean: float
    sd: float
    se: float
    df: float
    low: float
    high: float
    p: float
    adjusted: float
    simultaneous: tuple[float, float]
    tost_p: float | None
    tost_adjusted: float | None
    not_worse_p: float | None
    not_worse_adjusted: float | None
    detectable: Ranged
    seeds_needed: Ranged | None
    sources: dict[str, float]
    estimand: str
    outliers: tuple[int, ...] = ()
    floored: bool = False

    @property
    def reversed(self) -> Estimate:
        """Theirs minus ours; the one-sided test is asked of one direction only and is omitted."""
        low, high = self.simultaneous
        return replace(
            self,
            mean=-self.mean,
            low=-self.high,
            high=-self.low,
            simultaneous=(-high, -low),
            not_worse_p=None,
            not_worse_adjusted=None,
        )
