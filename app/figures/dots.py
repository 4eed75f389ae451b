"""A dot for each run by norm: quantities of a run, and those of each site of its model."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from app.figures.bands import add_legend
from app.figures.drawing import in_lines, new_figure, style_axes, style_of
from app.figures.inline import name_artist

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEAST = 1e-6  # below it a share is a rounding error of float32
Values = Mapping[str, Mapping[str, float]]  # of a norm's runs, by norm and the run's name


def is_nothing(values: Values) -> bool:
    """Whether all values are 0 but for rounding: there is nothing to see in a picture of them."""
    return all(abs(value) < _LEAST for runs in values.values() for value in runs.values())


def dots(quantities: Mapping[str, Values], title: str, columns: int | None = None) -> Figure:
    """Draw a panel per quantity and a row per norm: a dot for each run, a line at their mean.

    Args:
        quantities: for each quantity, the values of each norm's runs.
        title: title of the figure.
        columns: panels in a row; all by default.
    """
    norms = list(dict.fromkeys(norm for values in quantities.values() for norm in values))
    names = [in_lines(norm, 20) for norm in norms]
    height = 1.0 + 0.3 * len(norms) + 0.14 * sum(name.count("\n") for name in names)
    figure, panels = new_figure(len(quantities), title, width=3.8, height=height, columns=columns)
    for axes, (quantity, values) in zip(panels, quantities.items(), strict=True):
        for row, norm in enumerate(norms):
            (colour, marker), runs = style_of(row), values.get(norm, {})
            if runs:
                (drawn,) = axes.plot(
                    list(runs.values()), [row] * len(runs), marker, color=colour, alpha=0.75, markersize=5,
                    markeredgewidth=0,
                )  # fmt: skip
                name_artist(drawn, norm, *(f"{run}: {value:.4g}" for run, value in runs.items()))
                (line,) = axes.plot(statistics.fmean(runs.values()), row, "|", color=colour, markersize=14)
                name_artist(line, norm, f"{norm}: mean {statistics.fmean(runs.values()):.4g} of {len(runs)} runs")
        axes.set_title(quantity, fontsize=10)
        axes.set_ylim(len(norms) - 0.5, -0.5)
        is_first = axes in panels[:: columns or len(panels)]
        axes.set_yticks(range(len(norms)), names if is_first else [""] * len(norms), fontsize=9)
        axes.locator_params(axis="x", nbins=4)
        style_axes(axes)
    return figure


def dots_by_site(
    quantities: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]],
    sites: Sequence[str],
    title: str,
    columns: int | None = None,
) -> Figure:
    """Draw a panel per quantity, on a logarithmic scale, with a row per site and a dot for each run.

    Args:
        quantities: for each quantity, by norm and the run's name, its value at each site, nan where it has none. What
            is 0 but for rounding is not drawn; values below 0 are drawn hollow, at their size.
        sites: short names of the sites in the order of depth.
        title: title of the figure.
        columns: panels in a row; all by default.
    """
    norms = list(dict.fromkeys(norm for values in quantities.values() for norm in values))
    height = 1.3 + 0.3 * max(len(sites), len(norms))  # of which the legend has a line each
    figure, panels = new_figure(len(quantities), title, width=3.8, height=height, columns=columns)
    for axes, (quantity, values) in zip(panels, quantities.items(), strict=True):
        for number, norm in enumerate(norms):
            colour, marker = style_of(number)
            shift = 0.5 * ((number + 0.5) / len(norms) - 0.5)  # so that equal norms do not hide each other
            shown = [
                (value, row + shift, f"{run}, {sites[row]}: {value:.4g}")
                for run, at_sites in values.get(norm, {}).items()
                for row, value in enumerate(at_sites)
                if not math.isnan(value) and abs(value) >= _LEAST
            ]
            for face, some in ((colour, [s for s in shown if s[0] > 0]), ("none", [s for s in shown if s[0] < 0])):
                if some:
                    found, rows, words = zip(*some, strict=True)
                    (drawn,) = axes.plot(
                        list(map(abs, found)), rows, marker, color=colour, markerfacecolor=face, alpha=0.75,
                        markersize=5,
                    )  # fmt: skip
                    name_artist(drawn, norm, *words)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_title(quantity, fontsize=10)
        axes.set_ylim(len(sites) - 0.5, -0.5)
        is_first = axes in panels[:: columns or len(panels)]
        axes.set_yticks(range(len(sites)), sites if is_first else [""] * len(sites), fontsize=8)
        style_axes(axes)
    add_legend(figure, {norm: [v[norm] for v in quantities.values() if v.get(norm)] for norm in norms}, {})
    return figure
