"""Curves of train and validation by epoch, or by step if epochs are validated more than once; the best one marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from app.figures.drawing import COLOURS, MARKERS, METRIC_NAMES, Event, new_figure, plain, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PARTS = (("train_probe", "train"), ("val", "valid"))


@dataclass(frozen=True)
class CurveRun:
    """One run of a picture.

    Args:
        label: its name in the legend; not shown where it is the only one.
        events: lines of metrics.jsonl in order; validations are drawn.
        best_step: step of the best checkpoint, marked in each panel.
    """

    label: str
    events: Sequence[Event]
    best_step: int | None = None


def draw_curves(
    runs: Sequence[CurveRun],
    metrics: Sequence[str],
    title: str,
    path: Path,
    curve_axes: Literal["one", "two"] = "one",
) -> None:
    """Draw one panel a metric. One run: train in one colour, validation in another. Several: a colour each.

    Args:
        runs: one, or several to be compared.
        metrics: names without part, e.g. loss and accuracy.
        title: over the picture.
        path: the .svg or .pdf to write; replaced whole.
        curve_axes: one axis for both, or two, as in the paper's figures: train on the left, validation on the right.
    """
    figure, panels = new_figure(len(metrics), title)
    for axes, metric in zip(panels, metrics, strict=True):
        _draw_metric(axes, runs, metric, curve_axes)
    save(figure, path)


def _draw_metric(axes: Axes, runs: Sequence[CurveRun], metric: str, curve_axes: Literal["one", "two"]) -> None:
    unit = _unit(runs, metric)
    name = METRIC_NAMES.get(metric, metric)
    right = axes.twinx() if curve_axes == "two" else axes
    for number, run in enumerate(runs):
        for side, (part, label) in zip((axes, right), _PARTS, strict=True):
            _draw_part(side, run, metric, unit, _style(number, part, label, run.label if len(runs) > 1 else ""))
        if len(runs) == 1:
            _mark_best(right, run, metric, unit)
    axes.set_xlabel(unit)
    axes.set_ylabel(name)
    if curve_axes == "two":
        for side, colour, (_, label) in zip((axes, right), COLOURS, _PARTS, strict=False):
            colour = colour if len(runs) == 1 else "black"
            side.set_ylabel(f"{name}, {label}", color=colour)
            side.tick_params(axis="y", colors=colour)
    axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[attr-defined]
    for side in {axes, right}:
        plain(side, ["top"] if curve_axes == "two" else ["top", "right"])
    if right is not axes:
        right.grid(visible=False)
    lines = [line for side in {axes: 0, right: 0} for line in side.lines]
    shown = [line for line in lines if not str(line.get_label()).startswith("_")]
    if shown:
        axes.legend(shown, [str(line.get_label()) for line in shown], frameon=False, fontsize=9)


def _unit(runs: Sequence[CurveRun], metric: str) -> Literal["epoch", "step"]:
    """Step, where a run has several validations within an epoch."""
    for run in runs:
        validated = [event["epoch"] for event in run.events if event.get(f"val/{metric}") is not None]
        if len(set(validated)) < len(validated):
            return "step"
    return "epoch"


def _style(run: int, part: str, label: str, of: str) -> dict[str, object]:
    if not of:
        number = 0 if part == "train_probe" else 1
        return {"color": COLOURS[number], "marker": MARKERS[number], "label": label, "part": part}
    colour, marker = COLOURS[run % len(COLOURS)], MARKERS[run % len(MARKERS)]
    line = {"linestyle": "--" if part == "train_probe" else "-", "label": f"{of}, {label}"}
    return {"color": colour, "marker": marker, "part": part, **line}


def _draw_part(side: Axes, run: CurveRun, metric: str, unit: str, style: dict[str, object]) -> None:
    key = f"{style.pop('part')}/{metric}"
    points = [(event[unit], event[key]) for event in run.events if event.get(key) is not None]
    if points:
        side.plot([x for x, _ in points], [y for _, y in points], markersize=5, **style)  # type: ignore[arg-type]


def _mark_best(side: Axes, run: CurveRun, metric: str, unit: str) -> None:
    for event in run.events:
        value = event.get(f"val/{metric}")
        if value is not None and event["step"] == run.best_step:
            label = f"best {unit} ({event[unit]})"
            side.axvline(event[unit], color="0.6", linestyle=":", linewidth=1.2, label=label)
            side.plot(event[unit], value, marker="s", markersize=10, markerfacecolor="none", markeredgecolor="black")
