"""Curves of several norms: means over the runs that finished, with a band, and each run that diverged by itself."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.figures.drawing import GAP, Event, curve_axes, gap_axes, in_lines, new_figure, style_of, unit_of_time
from app.figures.inline import name_artist
from app.metrics import MetricInfo

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Curve:
    """What one run measured.

    Attributes:
        name: of the run, such as `adanorm, seed 3`.
        events: its lines of metrics.jsonl, in order.
        diverged: whether it diverged, after its last event.
    """

    name: str
    events: Sequence[Event]
    diverged: bool = False


def curve_bands(
    runs: Mapping[str, Sequence[Curve]],
    metrics: Sequence[MetricInfo],
    title: str,
    twin_axes: bool = False,
    columns: int | None = None,
) -> Figure:
    """Draw a panel per metric, train dashed, validation solid, a colour per norm, and a panel of the loss's gap.

    A mean is drawn as far as all finished runs of the norm reach, so that it is one over the same runs everywhere.

    Args:
        runs: for each norm, its runs, one for each seed.
        metrics: what to draw.
        title: title of the figure.
        twin_axes: give validation an axis of its own on the right, as in the paper's figures.
        columns: panels in a row; all by default.
    """
    every = [curve for curves in runs.values() for curve in curves]
    has_gap = any(GAP in event for curve in every for event in curve.events)
    figure, panels = new_figure(len(metrics) + has_gap, title, width=4.0, height=3.6, columns=columns)
    unit = "step" if any(unit_of_time(curve.events) == "step" for curve in every) else "epoch"
    for axes, metric in zip(panels, metrics, strict=False):
        right = curve_axes(axes, metric, unit, twin_axes)
        for number, (norm, curves) in enumerate(runs.items()):
            _draw(axes, norm, number, curves, f"train_probe/{metric.name}", unit, "--")
            _draw(right, norm, number, curves, f"val/{metric.name}", unit, "-")
    if has_gap:
        gap_axes(panels[-1], unit)
        for number, (norm, curves) in enumerate(runs.items()):
            _draw(panels[-1], norm, number, curves, GAP, unit, "-")
    add_legend(figure, runs, {"train": "--", "valid": "-"}, any(curve.diverged for curve in every))
    return figure


def add_legend(figure: Figure, norms: Mapping[str, Sized], styles: Mapping[str, str], with_cross: bool = False) -> None:
    """Explain colours and line styles apart, so that the legend has an entry per norm and not one per line.

    Args:
        figure: the figure.
        norms: what each norm has; one that has nothing keeps its colour for other figures and gets no entry.
        styles: dashes by what they mean.
        with_cross: whether runs that diverged are drawn.
    """
    from matplotlib.lines import Line2D

    entries = []
    for number, (norm, found) in enumerate(norms.items()):
        if len(found):
            colour, marker = style_of(number)
            entries.append(Line2D([], [], color=colour, marker=marker, label=in_lines(norm, 30)))
    entries += [Line2D([], [], color="0.3", linestyle=style, label=label) for label, style in styles.items()]
    if with_cross:
        entries.append(Line2D([], [], color="0.3", linestyle=":", marker="x", label="a run that diverged"))
    place = "outside right upper" if figure.get_figwidth() > 6 else "outside lower left"
    figure.legend(handles=entries, loc=place, frameon=False, fontsize=9)


def _draw(axes: Axes, norm: str, number: int, curves: Sequence[Curve], key: str, unit: str, dashes: str) -> None:
    colour, marker = style_of(number)
    series = [{event[unit]: event[key] for event in curve.events if event.get(key) is not None} for curve in curves]
    finished = [points for curve, points in zip(curves, series, strict=True) if points and not curve.diverged]
    places = sorted(set.intersection(*map(set, finished))) if finished else []
    if places:
        means = [statistics.fmean(points[place] for points in finished) for place in places]
        several = len(finished) > 1
        deviations = [statistics.stdev(points[p] for points in finished) if several else 0.0 for p in places]
        (line,) = axes.plot(places, means, dashes, color=colour, marker=marker, markersize=4, label=norm)
        low = [mean - deviation for mean, deviation in zip(means, deviations, strict=True)]
        high = [mean + deviation for mean, deviation in zip(means, deviations, strict=True)]
        band = axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
        for artist in (line, band):
            name_artist(artist, norm, f"{norm}: mean of {len(finished)} runs")
    for curve, points in zip(curves, series, strict=True):
        if curve.diverged and points:
            steps = sorted(points)
            values = [points[step] for step in steps]
            (line,) = axes.plot(steps, values, ":", color=colour, linewidth=1.2)
            (cross,) = axes.plot(steps[-1], values[-1], "x", color=colour, markersize=8, markeredgewidth=2)
            for artist in (line, cross):
                name_artist(artist, norm, f"{curve.name}: diverged after {unit} {steps[-1]}")
