"""Curves of a run's train and validation, the best one marked. Those of several runs: bands.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.figures.drawing import COLOURS, MARKERS, Event, new_figure, save, style_axes, unit_of_time
from app.metrics import MetricInfo

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PARTS = (("train_probe", "train"), ("val", "valid"))


def draw_curves(
    events: Sequence[Event],
    metrics: Sequence[MetricInfo],
    title: str,
    path: Path,
    twin_axes: bool = False,
    best_step: int | None = None,
) -> None:
    """Draw one panel a metric, train in one colour and validation in another.

    Args:
        events: lines of metrics.jsonl in order; validations are drawn.
        metrics: a panel each.
        title: over the picture.
        path: the .svg or .pdf to write; replaced whole.
        twin_axes: one axis for both, or two, as in the paper's figures: train on the left, validation on the right.
        best_step: step of the best checkpoint, marked in each panel.
    """
    figure, panels = new_figure(len(metrics), title)
    for axes, metric in zip(panels, metrics, strict=True):
        _draw_metric(axes, events, metric, twin_axes, best_step)
    save(figure, path)


def _draw_metric(
    axes: Axes, events: Sequence[Event], metric: MetricInfo, twin_axes: bool, best_step: int | None
) -> None:
    unit = unit_of_time(events)
    name = metric.label
    right = axes.twinx() if twin_axes else axes
    for side, (part, label), colour, marker in zip((axes, right), _PARTS, COLOURS, MARKERS, strict=False):
        points = [(e[unit], e[f"{part}/{metric.name}"]) for e in events if e.get(f"{part}/{metric.name}") is not None]
        if points:
            side.plot(*zip(*points, strict=True), color=colour, marker=marker, markersize=5, label=label)
        if right is not axes:
            side.set_ylabel(f"{name}, {label}", color=colour)
            side.tick_params(axis="y", colors=colour)
    _mark_best(right, events, metric, unit, best_step)
    axes.set_xlabel(unit)
    if right is axes:
        axes.set_ylabel(name)
    axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[attr-defined]
    for side in {axes, right}:
        style_axes(side, ["top"] if right is not axes else ["top", "right"])
    if right is not axes:
        right.grid(visible=False)
    lines = [line for side in {axes: 0, right: 0} for line in side.lines]
    shown = [line for line in lines if not str(line.get_label()).startswith("_")]
    if shown:
        axes.legend(shown, [str(line.get_label()) for line in shown], frameon=False, fontsize=9)


def _mark_best(side: Axes, events: Sequence[Event], metric: MetricInfo, unit: str, best_step: int | None) -> None:
    for event in events:
        value = event.get(f"val/{metric.name}")
        if value is not None and event["step"] == best_step:
            label = f"best {unit} ({event[unit]})"
            side.axvline(event[unit], color="0.6", linestyle=":", linewidth=1.2, label=label)
            side.plot(event[unit], value, marker="s", markersize=10, markerfacecolor="none", markeredgecolor="black")
