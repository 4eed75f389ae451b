"""What an analysis consists of: tables of rows, families of comparisons, and their verdicts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from app.metrics import MetricInfo
from app.study.analysis.quantities import Quantity
from app.study.analysis.sides import Side
from app.study.analysis.words import sentence
from app.study.plan import Condition, Study, Trial, Variant
from app.study.statistics.estimate import Estimate

if TYPE_CHECKING:  # both read this module
    from app.study.analysis.answers import Answer
    from app.study.analysis.controls import Controls

# higher and lower: of quantities that have no direction of improvement
Verdict = Literal["better", "worse", "higher", "lower", "equal", "undecided", "preliminary"]
_OPPOSITE: dict[str, Verdict] = {"better": "worse", "worse": "better", "higher": "lower", "lower": "higher"}


@dataclass(frozen=True)
class Diverged:
    """How many runs of ours and of theirs diverged or collapsed, with the exact test that it is as likely in both.

    Attributes:
        ours: runs of ours that did.
        ours_of: runs of ours that ended.
        theirs: runs of theirs that did.
        theirs_of: runs of theirs that ended.
        p: of Boschloo's exact test.
        adjusted: the same, adjusted for the family of divergences by Holm's method.
        collapsed: whether some of these runs did not diverge but collapse.
    """

    ours: int
    ours_of: int
    theirs: int
    theirs_of: int
    p: float
    adjusted: float
    collapsed: bool = False

    @property
    def any(self) -> bool:
        """Whether a run of either did."""
        return bool(self.ours or self.theirs)

    @property
    def reversed(self) -> Diverged:
        """Theirs, then ours."""
        return replace(self, ours=self.theirs, ours_of=self.theirs_of, theirs=self.ours, theirs_of=self.ours_of)


@dataclass(frozen=True)
class Comparison:
    """Ours minus theirs in one quantity under one condition; each has one p value, which everything quotes.

    Attributes:
        quantity: what is compared.
        condition: label of the condition.
        variant: ours.
        other: theirs.
        estimate: the numbers; None where no pair of runs has the quantity.
        diverged: divergences of both.
        margin: differences below it count as none; None where the study has none for the quantity.
        verdict: what the numbers say of ours.
        unpaired: why seeds that both have are not compared; "" where all are.
        look: number of seeds at which it was decided, or is looked at now; None where the study has no looks.
    """

    quantity: Quantity
    condition: str
    variant: Side
    other: Side
    estimate: Estimate | None
    diverged: Diverged
    margin: float | None
    verdict: Verdict
    unpaired: str = ""
    look: int | None = None

    @property
    def is_shown(self) -> bool:
        """Whether a difference is shown, in whatever direction."""
        return self.verdict in _OPPOSITE

    @property
    def is_decided(self) -> bool:
        """Whether further seeds would change nothing: a difference is shown, or equality within the margin."""
        return self.is_shown or self.verdict == "equal"

    @property
    def words(self) -> str:
        """What the numbers say in one sentence, without a full stop."""
        return sentence(self)

    @property
    def reversed(self) -> Comparison:
        """Theirs minus ours: the same comparison, with the same p value."""
        return replace(
            self,
            variant=self.other,
            other=self.variant,
            estimate=self.estimate and self.estimate.reversed,
            diverged=self.diverged.reversed,
            verdict=_OPPOSITE.get(self.verdict, self.verdict),
        )


@dataclass(frozen=True)
class Row:
    """One variant under one condition.

    Attributes:
        variant: norm and placement.
        trials: all its trials, by seed.
        results: result.json of its finished runs, by seed.
        scores: their test scores in the primary metric, in the unit of tables, by seed.
        diverged: seeds of runs that diverged.
        collapsed: seeds of runs that finished with a score no better than that of the most frequent class, where other
            runs of the table have one.
        missing: seeds of runs that have not ended.
        comparison: in the primary metric, with the baseline or else as the plan declares; None without any.
    """

    variant: Variant
    trials: dict[int, Trial]
    results: dict[int, dict[str, Any]]
    scores: dict[int, float]
    diverged: tuple[int, ...]
    missing: tuple[int, ...]
    comparison: Comparison | None = None
    collapsed: tuple[int, ...] = ()

    @property
    def failed(self) -> set[int]:
        """Seeds of runs that diverged or collapsed: their scores are not a matter of degree."""
        return {*self.diverged, *self.collapsed}

    @property
    def mean(self) -> float | None:
        """The mean score over all its finished runs; None without one."""
        return sum(self.scores.values()) / len(self.scores) if self.scores else None


@dataclass(frozen=True)
class Table:
    """All variants under one condition.

    Attributes:
        condition: label of the condition.
        task: name of the task.
        dataset: name of the dataset.
        model: short name of the model; None for runs of earlier versions.
        metric: the primary metric.
        rows: one for each variant.
        secondary: the plan's comparisons in what is not the test score.
        best: the variants that cannot be told from the best; empty where that is not known.
    """

    condition: str
    task: str
    dataset: str
    model: str | None
    metric: MetricInfo
    rows: tuple[Row, ...]
    secondary: tuple[Comparison, ...] = ()
    best: tuple[Variant, ...] = ()

    @property
    def name(self) -> str:
        """What it is of, in words: dataset and model, and what the condition says beyond its config."""
        parts = [self.dataset, self.model, *self.condition.split(", ")[1:]]
        return ", ".join(dict.fromkeys(filter(None, parts)))  # runs that no study started have the model in both

    def row(self, variant: Variant) -> Row:
        """The row of a variant of the study."""
        return next(row for row in self.rows if row.variant == variant)


@dataclass(frozen=True)
class Family:
    """The declared comparisons of one kind, over which p values are adjusted together.

    Attributes:
        name: scores, overfitting, gradients or divergences.
        comparisons: all of them, those without a pair of runs too.
        method: how p values are adjusted, in words.
    """

    name: str
    comparisons: tuple[Comparison, ...]
    method: str


@dataclass(frozen=True)
class Analysis:
    """Everything that a study's runs say.

    Attributes:
        study: the study.
        tables: one for each condition with a run that ended.
        families: the declared comparisons.
        done: number of trials that ended.
        total: number of planned trials.
        preliminary: whether planned runs are missing, so that there is no verdict yet.
        answers: what the study says of each claim.
        tuning: what was tuned; None where nothing was.
        controls: whether the null twin and the planted broken norm are found as such; None without controls.
    """

    study: Study
    tables: tuple[Table, ...]
    families: tuple[Family, ...]
    done: int
    total: int
    preliminary: bool
    answers: tuple[Answer, ...] = ()
    tuning: Any = None
    controls: Controls | None = None

    def places(self, condition: Condition) -> list[Table]:
        """The tables of a condition: one, or, where the study tunes, one for each of the values that are compared.

        The last of these has each variant at its own best.
        """
        start = f"{condition.label}, "
        is_tuned = self.study.tuning is not None
        return [
            table
            for table in self.tables
            if table.condition == condition.label or (is_tuned and table.condition.startswith(start))
        ]

    def find(self, quantity: str, condition: str, variant: Side, other: Side) -> Comparison | None:
        """The declared comparison of two variants in a quantity, either way round; None where none was declared."""
        for family in self.families:
            for found in family.comparisons:
                if (found.quantity.name, found.condition) == (quantity, condition):
                    if (found.variant, found.other) == (variant, other):
                        return found
                    if (found.variant, found.other) == (other, variant):
                        return found.reversed
        return None
