"""Curves of one run's train and validation scores, with the best checkpoint marked; bands.py has several runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.figures.drawing import COLOURS, GAP, MARKERS, Event, curve_axes, gap_axes, new_figure, save, unit_of_time
from app.metrics import LOSS, MetricInfo

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_curves(
    events: Sequence[Event],
    metrics: Sequence[MetricInfo],
    title: str,
    path: Path,
    twin_axes: bool = False,
    best_step: int | None = None,
    onset_step: int | None = None,
) -> None:
    """Draw a panel per metric, with train in one colour and validation in another, and one of the loss's gap.

    Args:
        events: lines of metrics.jsonl in order; validations are drawn.
        metrics: what to draw.
        title: title of the figure.
        path: the .svg or .pdf file to write; replaced whole.
        twin_axes: give validation an axis of its own on the right, as in the paper's figures.
        best_step: step of the best checkpoint, marked in each panel.
        onset_step: step since which the run overfits, if it does; marked in the panel of the loss.
    """
    gaps = [event for event in events if event.get(GAP) is not None]
    figure, panels = new_figure(len(metrics) + bool(gaps), title)
    unit = unit_of_time(events)
    for axes, metric in zip(panels, metrics, strict=False):
        right = curve_axes(axes, metric, unit, twin_axes, COLOURS[:2])
        curves = ((axes, "train_probe", "train"), (right, "val", "valid"))
        for (side, split, label), colour, marker in zip(curves, COLOURS, MARKERS, strict=False):
            key = f"{split}/{metric.name}"
            points = [(event[unit], event[key]) for event in events if event.get(key) is not None]
            if points:
                side.plot(*zip(*points, strict=True), color=colour, marker=marker, markersize=5, label=label)
        _mark_best(right, events, f"val/{metric.name}", unit, best_step)
        since = next((event[unit] for event in events if event["step"] == onset_step), None)
        if metric == LOSS and since is not None:
            right.axvline(since, color=COLOURS[3], linestyle="--", linewidth=1.2)
            place = {"xy": (since, 1.01), "xycoords": ("data", "axes fraction"), "ha": "center", "va": "bottom"}
            right.annotate(f"overfitting since {unit} {since}", **place, color=COLOURS[3], fontsize=9)
        lines = [line for side in dict.fromkeys((axes, right)) for line in side.lines]
        shown = [line for line in lines if not str(line.get_label()).startswith("_")]
        if shown:
            axes.legend(shown, [str(line.get_label()) for line in shown], frameon=False, fontsize=9)
    if gaps:
        gap_axes(panels[-1], unit)
        panels[-1].plot([e[unit] for e in gaps], [e[GAP] for e in gaps], color="black", marker="o", markersize=5)
        _mark_best(panels[-1], events, GAP, unit, best_step)
    save(figure, path)


def _mark_best(side: Axes, events: Sequence[Event], key: str, unit: str, best_step: int | None) -> None:
    for event in events:
        if event.get(key) is not None and event["step"] == best_step:
            label = f"best {unit} ({event[unit]})"
            side.axvline(event[unit], color="0.6", linestyle=":", linewidth=1.2, label=label)
            side.plot(
                event[unit], event[key], marker="s", markersize=10, markerfacecolor="none", markeredgecolor="black"
            )
