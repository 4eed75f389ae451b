"""Curves of several norms, each a mean over seeds with a band of one standard deviation, and bars."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from app.figures.drawing import COLOURS, GAP, MARKERS, Event, curve_axes, gap_axes, new_figure, style_axes, unit_of_time
from app.metrics import MetricInfo

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def curve_bands(
    runs: Mapping[str, Sequence[Sequence[Event]]],
    metrics: Sequence[MetricInfo],
    title: str,
    twin_axes: bool = False,
) -> Figure:
    """Draw a panel per metric, train dashed, validation solid, a colour per norm, and a panel of the loss's gap.

    Args:
        runs: for each norm, the events of its runs, one for each seed.
        metrics: what to draw.
        title: title of the figure.
        twin_axes: give validation an axis of its own on the right, as in the paper's figures.
    """
    has_gap = any(GAP in event for series in runs.values() for events in series for event in events)
    figure, panels = new_figure(len(metrics) + has_gap, title, width=4.8, height=3.8)
    by_step = any(unit_of_time(events) == "step" for series in runs.values() for events in series)
    unit = "step" if by_step else "epoch"
    styles = {
        norm: {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
        for number, norm in enumerate(runs)
    }
    for axes, metric in zip(panels, metrics, strict=False):
        right = curve_axes(axes, metric, unit, twin_axes)
        for norm, series in runs.items():
            style = styles[norm]
            train = {**style, "linestyle": "--", "label": f"{norm}, train"}
            _band(axes, series, f"train_probe/{metric.name}", unit, train)
            _band(right, series, f"val/{metric.name}", unit, {**style, "linestyle": "-", "label": f"{norm}, valid"})
    if has_gap:
        gap_axes(panels[-1], unit)
        for norm, series in runs.items():
            _band(panels[-1], series, GAP, unit, styles[norm])
    handles = [line for side in dict.fromkeys([panels[0], *figure.axes]) for line in side.lines]
    by_label = {str(line.get_label()): line for line in handles if not str(line.get_label()).startswith("_")}
    order = sorted(by_label, key=lambda label: [label.startswith(norm + ",") for norm in runs].index(True))
    figure.legend([by_label[label] for label in order], order, loc="outside right upper", frameon=False, fontsize=9)
    return figure


def bars(values: Mapping[str, Mapping[str, Sequence[float]]], title: str) -> Figure:
    """Draw a panel per quantity and a bar per norm: the mean over seeds, with a dot for each seed.

    Args:
        values: for each quantity, each norm's values, one for each seed.
        title: title of the figure.
    """
    figure, panels = new_figure(len(values), title, width=3.4, height=3.4)
    for axes, (quantity, by_norm) in zip(panels, values.items(), strict=True):
        for number, (norm, of_seeds) in enumerate(by_norm.items()):
            if of_seeds:
                axes.barh(norm, statistics.fmean(of_seeds), color=COLOURS[number % len(COLOURS)], alpha=0.6)
                axes.plot(of_seeds, [norm] * len(of_seeds), "o", color="black", markersize=3)
        axes.set_title(quantity, fontsize=10)
        if axes.get_xlim()[1] < 0.001:  # so that rounding errors look like nothing
            axes.set_xlim(0, 0.05)
        axes.invert_yaxis()
        axes.locator_params(axis="x", nbins=4)
        axes.tick_params(axis="y", labelsize=9, labelleft=axes is panels[0])
        style_axes(axes)
    return figure


def _band(axes: Axes, series: Sequence[Sequence[Event]], key: str, unit: str, style: Mapping[str, object]) -> None:
    by_place: dict[int, list[float]] = {}
    for event in (event for events in series for event in events):
        if event.get(key) is not None:
            by_place.setdefault(event[unit], []).append(event[key])
    if not by_place:
        return
    places = sorted(by_place)
    means = [statistics.fmean(by_place[place]) for place in places]
    deviations = [statistics.stdev(by_place[place]) if len(by_place[place]) > 1 else 0.0 for place in places]
    axes.plot(places, means, markersize=4, **style)  # type: ignore[arg-type]
    low = [mean - deviation for mean, deviation in zip(means, deviations, strict=True)]
    high = [mean + deviation for mean, deviation in zip(means, deviations, strict=True)]
    axes.fill_between(places, low, high, color=str(style["color"]), alpha=0.15, linewidth=0)
