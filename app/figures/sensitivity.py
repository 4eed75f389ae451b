"""How a score depends on a setting such as the learning rate, and what trying more values of it brings, by norm."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.figures.bands import add_legend
from app.figures.drawing import new_figure, style_axes, style_of
from app.figures.inline import name_artist

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Sensitivity:
    """What the values of a setting have done to the runs of one norm.

    Attributes:
        scores: by value, the score of each run by its name; None for a run that diverged.
        chosen: the value that was chosen.
        optimum: the interval in which the best value is, where it is known.
        best_of: for each number of tries, the expected best score, and the ends of its interval.
    """

    scores: Mapping[float, Mapping[str, float | None]]
    chosen: float | None = None
    optimum: tuple[float, float] | None = None
    best_of: Sequence[tuple[int, float, float, float]] = ()


def sensitivity(
    norms: Mapping[str, Sensitivity], setting: str, score: str, title: str, columns: int | None = None
) -> Figure:
    """Draw the score against the setting, on a logarithmic scale, and the expected best score against the tries.

    A run that diverged is a cross at the bottom; the interval of the best value is a bar at the top.

    Args:
        norms: what was tried, by norm.
        setting: label of the axis, such as model.optimizer.lr.
        score: label of the axis of scores.
        title: title of the figure.
        columns: panels in a row; all by default.
    """
    with_tries = any(found.best_of for found in norms.values())
    figure, panels = new_figure(1 + with_tries, title, width=3.8, height=3.8, columns=columns)
    for number, (norm, found) in enumerate(norms.items()):
        _draw_values(panels[0], norm, number, found)
        if found.best_of:
            _draw_tries(panels[1], norm, number, found.best_of)
    values = sorted({value for norm in norms.values() for value in norm.scores})
    panels[0].margins(y=0.2)  # room for crosses and bars
    panels[0].set_xscale("log")
    panels[0].set_xticks(values, [f"{value:g}" for value in values], rotation=45 if len(values) > 4 else 0)
    panels[0].minorticks_off()
    panels[0].set_xlabel(setting)
    for axes in panels:
        axes.set_ylabel(score)
        style_axes(axes)
    if with_tries:
        panels[1].set_xlabel("values tried")
        panels[1].xaxis.get_major_locator().set_params(integer=True)  # type: ignore[attr-defined]
    add_legend(figure, {norm: found.scores for norm, found in norms.items()}, {})
    return figure


def _draw_values(axes: Axes, norm: str, number: int, found: Sensitivity) -> None:
    colour, marker = style_of(number)
    runs = [(value, run, score) for value, of_value in found.scores.items() for run, score in of_value.items()]
    known = [(value, run, score) for value, run, score in runs if score is not None]
    dead = [(value, run) for value, run, score in runs if score is None]
    if known:
        at, names, scores = zip(*known, strict=True)
        (dots,) = axes.plot(at, scores, "o", color=colour, alpha=0.6, markersize=4)
        name_artist(dots, norm, *(f"{run}: {score:.4g}" for run, score in zip(names, scores, strict=True)))
    if dead:
        at, names = zip(*dead, strict=True)
        heights = [0.02 + 0.03 * number] * len(at)
        (crosses,) = axes.plot(at, heights, "x", color=colour, transform=axes.get_xaxis_transform())
        name_artist(crosses, norm, *(f"{run}: diverged" for run in names))
    means = {
        value: statistics.fmean(score for score in of_value.values() if score is not None)
        for value, of_value in sorted(found.scores.items())
        if None not in of_value.values()
    }
    (line,) = axes.plot(list(means), list(means.values()), "-", color=colour)
    name_artist(line, norm, f"{norm}: means over its runs")
    if found.chosen in means:
        (mark,) = axes.plot(found.chosen, means[found.chosen], marker, color=colour, markersize=10)
        name_artist(mark, norm, f"{norm}: {found.chosen:g} was chosen")
    if found.optimum is not None:
        place = 0.98 - 0.03 * number
        (span,) = axes.plot(
            found.optimum, (place, place), "-", color=colour, linewidth=3, transform=axes.get_xaxis_transform()
        )
        name_artist(span, norm, f"{norm}: the best value is from {found.optimum[0]:.2g} to {found.optimum[1]:.2g}")


def _draw_tries(axes: Axes, norm: str, number: int, tries: Sequence[tuple[int, float, float, float]]) -> None:
    colour, marker = style_of(number)
    count, expected, low, high = zip(*tries, strict=True)
    (line,) = axes.plot(count, expected, "-", color=colour, marker=marker, markersize=4)
    band = axes.fill_between(count, low, high, color=colour, alpha=0.12, linewidth=0)
    for artist in (line, band):
        name_artist(artist, norm, f"{norm}: the expected best of the first values tried")
