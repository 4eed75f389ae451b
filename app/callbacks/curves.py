"""curves.svg: train and validation by epoch, or by step if epochs are validated more than once; the best one marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from app.callbacks.metrics_file import Event

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRAIN_COLOUR, VALIDATION_COLOUR = "#0072B2", "#D55E00"  # Okabe and Ito's blue and vermilion: told apart by everybody


def draw_curves(
    events: Sequence[Event],
    metrics: Sequence[str],
    best_step: int | None,
    title: str,
    path: Path,
    curve_axes: Literal["one", "two"] = "one",
) -> None:
    """Draw one panel a metric, train probe and validation.

    Args:
        events: events of the run in order; validations are drawn.
        metrics: names without part, e.g. loss and accuracy.
        best_step: step of the best checkpoint, marked in each panel.
        title: over the picture; the run's signature.
        path: the .svg to write; replaced whole.
        curve_axes: one axis for both, or two, as in the paper's figures: train on the left, validation on the right.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # here: importing it takes a while
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8 * len(metrics), 3.9), layout="constrained")
    FigureCanvasSVG(figure)
    figure.suptitle(title, fontsize=10)
    for axes, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        _draw_metric(axes, events, metric, best_step, curve_axes)
    temporary = path.with_suffix(".tmp")
    figure.savefig(temporary, format="svg", metadata={"Date": None})
    temporary.replace(path)


def _draw_metric(
    axes: Axes, events: Sequence[Event], metric: str, best_step: int | None, curve_axes: Literal["one", "two"]
) -> None:
    validated = [e["epoch"] for e in events if e.get(f"val/{metric}") is not None]
    unit = "epoch" if len(set(validated)) == len(validated) else "step"  # several validations within an epoch
    name = {"loss": "loss (nats)", "bpc": "bits per byte"}.get(metric, metric)
    right = axes.twinx() if curve_axes == "two" else axes
    for side, part, label, colour, marker in (
        (axes, "train_probe", "train", TRAIN_COLOUR, "o"),
        (right, "val", "valid", VALIDATION_COLOUR, "s"),
    ):
        points = [(e[unit], e[f"{part}/{metric}"], e["step"]) for e in events if e.get(f"{part}/{metric}") is not None]
        if curve_axes == "two":
            side.set_ylabel(f"{name}, {label}", color=colour)
            side.tick_params(axis="y", colors=colour)
        if not points:
            continue
        side.plot(
            [x for x, _, _ in points], [y for _, y, _ in points], color=colour, marker=marker, markersize=5, label=label
        )
        best = [(x, y) for x, y, step in points if step == best_step]
        if best and part == "val":
            side.axvline(best[0][0], color="0.6", linestyle=":", linewidth=1.2, label=f"best {unit} ({best[0][0]})")
            side.plot(*best[0], marker="s", markersize=10, markerfacecolor="none", markeredgecolor="black")
    axes.set_xlabel(unit)
    if curve_axes == "one":
        axes.set_ylabel(name)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    for side in {axes, right}:
        side.spines[["top"] if curve_axes == "two" else ["top", "right"]].set_visible(False)
    lines = [line for side in (axes, right) for line in side.lines if not line.get_label().startswith("_")]
    if lines:
        lines = list(dict.fromkeys(lines))  # with one axis, both sides are that one
        axes.legend(lines, [line.get_label() for line in lines], frameon=False)
