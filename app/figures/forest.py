"""The forest plot: a row per comparison, with its seeds, its intervals and the margin of equality."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.figures.drawing import in_lines, style_axes, style_of
from app.figures.inline import name_artist

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABEL_WIDTH = 40  # characters of a line of a label


@dataclass(frozen=True)
class ForestRow:
    """A comparison as it is drawn.

    Attributes:
        group: heading over the rows of one condition.
        series: the variant's label, by which a reader turns it on and off, and its number, which is its colour.
        label: what is compared.
        verdict: a few words next to the row.
        mean: mean of the paired differences; None where no pair is left.
        interval: 95 % interval of the mean.
        simultaneous: the interval that holds for all comparisons of the family together.
        dots: each run's name and its paired difference.
        failed: names of the runs that diverged or collapsed, each with what it did.
        decides: whether the difference is one over all runs; a difference over survivors is drawn hollow.
    """

    group: str
    series: tuple[str, int]
    label: str
    verdict: str
    mean: float | None = None
    interval: tuple[float, float] | None = None
    simultaneous: tuple[float, float] | None = None
    dots: Mapping[str, float] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    decides: bool = True


def forest(
    rows: Sequence[ForestRow], label: str, higher_is_better: bool, margin: float | None = None, narrow: bool = False
) -> Figure:
    """Draw the rows under the headings of their groups.

    Args:
        rows: the comparisons, group by group.
        label: of the axis: the quantity with its unit.
        higher_is_better: whether a difference above 0 is in favour of the variant.
        margin: half the width of the band around 0 in which two variants are equal.
        narrow: for a phone: labels and verdicts are above their rows, not next to them.
    """
    from matplotlib.figure import Figure

    places, y = [], 0.0
    for index, row in enumerate(rows):
        y += 1.0 if index and row.group == rows[index - 1].group else 1.9 if index else 0.9
        y += 0.35 * (len(_lines(row, narrow)) - 1)
        places.append(y)
    figure = Figure(figsize=(3.8 if narrow else 10.5, 1.0 + 0.42 * (y + 1)), layout="constrained")
    axes = figure.add_subplot()
    if margin is not None:
        axes.axvspan(-margin, margin, color="#56B4E9", alpha=0.18, linewidth=0)
    axes.axvline(0.0, color="0.35", linewidth=1.0)
    beside = {"transform": axes.get_yaxis_transform(), "fontsize": 8 if narrow else 9}
    for row, place in zip(rows, places, strict=True):
        _draw_row(axes, row, place, higher_is_better)
        text = "\n".join(_lines(row, narrow))
        if narrow:
            axes.text(0.0, place - 0.3, text, va="bottom", **beside)
        else:
            axes.text(-0.01, place, text, va="center", ha="right", **beside)
            axes.text(1.01, place, in_lines(row.verdict, 40), va="center", **beside)
    for _, group in itertools.groupby(zip(rows, places, strict=True), key=lambda pair: pair[0].group):
        row, place = next(group)
        top = place - (0.35 * len(_lines(row, narrow)) + 0.35 if narrow else 0.55)
        axes.text(0.0 if narrow else 0.005, top, row.group, va="bottom", **{**beside, "fontweight": "bold"})
    axes.set_ylim(y + 0.7, -0.35 * narrow)
    axes.set_yticks([])
    less, more = ("worse", "better") if higher_is_better else ("better", "worse")
    axes.set_xlabel(f"← {less}\u2003{label}\u2003{more} →", fontsize=8 if narrow else 10)
    axes.locator_params(axis="x", nbins=5 if narrow else 9)
    style_axes(axes)
    axes.spines["left"].set_visible(False)
    return figure


def _draw_row(axes: Axes, row: ForestRow, place: float, higher_is_better: bool) -> None:
    name, number = row.series
    colour, marker = style_of(number)
    words = f"{row.label}: {row.verdict}"
    dashes, thick = ("-", 4.0) if row.decides else (":", 2.0)
    for bounds, width, cap in ((row.simultaneous, 1.2, 5), (row.interval, thick, 0)):
        if bounds is not None:
            (line,) = axes.plot(bounds, (place, place), dashes, color=colour, linewidth=width, solid_capstyle="butt")
            name_artist(line, name, words)
            if cap:
                axes.plot(bounds, (place, place), "|", color=colour, markersize=cap)
    if row.mean is not None:
        face = colour if row.decides else "white"
        (dot,) = axes.plot(row.mean, place, marker, color=colour, markerfacecolor=face, markersize=8, zorder=3)
        name_artist(dot, name, words)
    below = place + 0.27
    if row.dots:
        heights = [below] * len(row.dots)
        (dots,) = axes.plot(
            list(row.dots.values()), heights, "o", color=colour, alpha=0.75, markersize=4, markeredgewidth=0, zorder=2
        )
        name_artist(dots, name, *(f"{run}: {value:+.4g}" for run, value in row.dots.items()))
    if row.failed:
        edge, step = (0.012, 0.02) if higher_is_better else (0.988, -0.02)
        xs = [edge + step * count for count in range(len(row.failed))]
        (crosses,) = axes.plot(
            xs, [below] * len(xs), "x", color=colour, markersize=6, transform=axes.get_yaxis_transform(), clip_on=False
        )
        name_artist(crosses, name, *(f"{run}: {what}" for run, what in row.failed.items()))


def _lines(row: ForestRow, narrow: bool) -> list[str]:
    text = in_lines(f"{row.label}: {row.verdict}", 52) if narrow else in_lines(row.label, _LABEL_WIDTH)
    return text.splitlines()
