"""When a study looks at its results: once, at its end, or at planned numbers of seeds, at levels that add up."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from app.study.plan import Study
from app.study.statistics.estimate import ALPHA
from app.study.statistics.sequential import nominal_levels, sequential_p


@dataclass(frozen=True)
class Looks:
    """The looks so far.

    Args:
        planned: numbers of seeds at which the study looks, the last of which is all; empty where it looks once.
        seeds: what each look so far sees; all seeds where there was none yet.
        preliminary: whether there was none yet, so that there is no verdict.
    """

    planned: tuple[int, ...]
    seeds: tuple[tuple[int, ...], ...]
    preliminary: bool

    @classmethod
    def at_the_end(cls, study: Study, is_done: bool) -> Looks:
        """The only look of a study without others."""
        return cls((), (study.seeds,), preliminary=not is_done)

    @classmethod
    def at(cls, study: Study, number: int) -> Looks:
        """The first looks of a study, as many as were reached."""
        seen = tuple(study.seeds[:look] for look in study.looks[:number])
        return cls(study.looks, seen or (study.seeds,), preliminary=not seen)

    @property
    def level(self) -> float:
        """The level of a single test at the newest look."""
        return nominal_levels(self.planned, ALPHA)[len(self.seeds) - 1] if self.planned else ALPHA

    def so_far(self) -> Iterator[Looks]:
        """The looks up to the first, up to the second, and so on."""
        for number in range(1, len(self.seeds) + 1):
            yield replace(self, seeds=self.seeds[:number])

    def p_value(self, p_values: Sequence[float]) -> float:
        """One p value of all looks so far, from that of each; nan without one at the newest look."""
        if not self.planned or math.isnan(p_values[-1]):
            return p_values[-1]
        return sequential_p(p_values, self.planned)
