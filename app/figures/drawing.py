"""What all figures share: colours for colour-blind readers too, panels, axes, and files that are written whole."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from app.metrics import MetricInfo
from app.runs.atomic_write import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Event = Mapping[str, Any]  # a line of metrics.jsonl

GAP = "gap/loss"  # of an event

# Okabe and Ito's palette without its yellow, which is too pale for a line
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_TITLE_PER_INCH = 11  # characters
_MOST_NAMES = 26  # of sites next to an axis; with more, the figure would be too high


def new_figure(
    panels: int, title: str, width: float = 4.2, height: float = 3.5, columns: int | None = None
) -> tuple[Figure, list[Axes]]:
    """Make panels under a title, which is as many lines as it needs: signatures of several rules are long.

    Args:
        panels: number of panels.
        title: title of the figure.
        width: of a panel, in inches.
        height: of a panel, in inches.
        columns: panels in a row; all by default.
    """
    from matplotlib.figure import Figure  # here and below, because the import is slow

    columns = max(1, panels if columns is None else min(columns, panels))
    rows = -(-panels // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    figure.suptitle(in_lines(title, int(_TITLE_PER_INCH * width * columns)), fontsize=11)
    found = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in found[panels:]:
        figure.delaxes(unused)
    return figure, found[:panels]


def new_depth_figure(panels: int, sites: Sequence[str], title: str) -> tuple[Figure, list[Axes]]:
    """Make a row of panels high enough for a line per site, with room for their names on the left."""
    rows = min(len(sites), _MOST_NAMES)
    return new_figure(panels, title, width=2.9 + 2.7 / panels, height=2.0 + 0.22 * rows)


def save(figure: Figure, path: Path) -> None:
    """Write the figure, whole or not at all, in the format of the path's suffix, and without a date.

    Raises:
        InputError: if it cannot be written.
    """
    from matplotlib import rc_context

    dateless = {"Date": None} if path.suffix == ".svg" else {"CreationDate": None} if path.suffix == ".pdf" else {}
    # TrueType letters in a pdf, which publishers ask for; the same ids in an svg each time it is made
    with rc_context({"pdf.fonttype": 42, "svg.hashsalt": path.stem}), atomic_write(path) as part:
        figure.savefig(part, format=path.suffix[1:], metadata=dateless)


def style_of(number: int) -> tuple[str, str]:
    """The colour and the marker of the series with a number; no two of the first 49 have both in common."""
    return COLOURS[number % len(COLOURS)], MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]


def in_lines(label: str, width: int) -> str:
    """A label in lines of at most this many characters: those of norms with options are long."""
    return "\n".join(textwrap.wrap(label, width, break_on_hyphens=False))


def style_axes(axes: Axes, sides: Sequence[Literal["top", "right"]] = ("top", "right")) -> None:
    """Draw a faint grid, and no frame on the given sides."""
    axes.grid(alpha=0.3)
    axes.spines[list(sides)].set_visible(False)


def curve_axes(
    axes: Axes, metric: MetricInfo, unit: str, twin: bool, colours: Sequence[str] = ("black", "black")
) -> Axes:
    """Label a panel for the curves of train and validation.

    Args:
        axes: the panel, of train or of both.
        metric: what is drawn.
        unit: epoch or step.
        twin: give validation an axis of its own, on a scale of its own: the distance of the curves is not the gap.
        colours: of the two axes.

    Returns:
        The axes of validation.
    """
    axes.set_xlabel(unit)
    axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[attr-defined]
    if not twin:
        axes.set_ylabel(metric.label)
        style_axes(axes)
        return axes
    right = axes.twinx()
    for side, split, colour in zip((axes, right), ("train", "valid"), colours, strict=True):
        side.set_ylabel(f"{metric.label}, {split}", color=colour)
        side.tick_params(axis="y", colors=colour)
        style_axes(side, ["top"])
    right.grid(visible=False)
    return right


def gap_axes(axes: Axes, unit: str) -> None:
    """Label the panel that shows how far the curves of the loss are apart, with a line where they meet."""
    axes.set_xlabel(unit)
    axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[attr-defined]
    axes.set_ylabel("gap of the loss: valid minus train")
    axes.axhline(0.0, color="0.6", linewidth=1.0)
    style_axes(axes)


def unit_of_time(events: Sequence[Event]) -> Literal["epoch", "step"]:
    """Return what validations are drawn over: epochs, or steps where an epoch has several validations."""
    epochs = [event["epoch"] for event in events if event.get("val/loss") is not None]
    return "epoch" if len(set(epochs)) == len(epochs) else "step"


def by_site(events: Sequence[Event], prefix: str, sites: Sequence[str]) -> dict[int, list[float]]:
    """Collect the values of a statistic by step, in the order of sites; nan where a site has none.

    Args:
        events: lines of metrics.jsonl.
        prefix: of the keys, such as `norm_grad/recentring`; a slash and the site's path follow.
        sites: paths in the order of depth.
    """
    found = {}
    for event in events:
        values = [event.get(f"{prefix}/{site}") for site in sites]
        if any(value is not None for value in values):
            found[int(event["step"])] = [float("nan") if value is None else float(value) for value in values]
    return found


def some_steps(steps: Sequence[int], most: int = 6) -> list[int]:
    """Choose the first step, the last one, and some between them, evenly apart on a logarithmic scale."""
    if len(steps) <= most:
        return list(steps)
    ratio = len(steps) ** (1 / (most - 1))
    chosen = {0, len(steps) - 1} | {min(len(steps) - 1, round(ratio**power)) for power in range(1, most - 1)}
    return [steps[place] for place in sorted(chosen)]


def draw_by_depth(
    axes: Axes, values: Mapping[int, Sequence[float]], sites: Sequence[str], label: str, least: float
) -> None:
    """Draw a line per step down the sites in their order, from pale (early) to dark (late).

    Args:
        axes: the panel.
        values: of each site, by step.
        sites: paths in the order of depth.
        label: title of the panel.
        least: the axis reaches from 0 to this value at least, so that small values do not look large.
    """
    from matplotlib import colormaps

    steps = some_steps(sorted(values))
    for number, step in enumerate(steps):
        shade = colormaps["viridis_r"](0.15 + 0.85 * number / max(1, len(steps) - 1))
        marker = MARKERS[number % len(MARKERS)]
        axes.plot(values[step], range(len(sites)), color=shade, marker=marker, markersize=5, label=f"step {step:,}")
    axes.set_title(label, fontsize=11)
    axes.locator_params(axis="x", nbins=5)
    place_sites(axes, sites)
    axes.set_xlim(0.0, max(1.05 * axes.dataLim.x1, least))


def place_sites(axes: Axes, sites: Sequence[str]) -> None:
    """Put the first site on top, with a tick for each site if there are few."""
    axes.set_ylim(len(sites) - 0.5, -0.5)
    step = 1 if len(sites) <= _MOST_NAMES else 10
    axes.set_yticks(range(0, len(sites), step), [""] * len(range(0, len(sites), step)))
    style_axes(axes)


def name_sites(axes: Axes, sites: Sequence[str]) -> None:
    """Label the ticks with the sites' paths if there are few, else with their numbers."""
    ticks = [int(tick) for tick in axes.get_yticks()]
    if len(sites) <= _MOST_NAMES:
        axes.set_yticks(ticks, [short_names(sites)[tick] for tick in ticks], fontsize=10)
    else:
        axes.set_yticks(ticks, [str(tick + 1) for tick in ticks])
        axes.set_ylabel("norm, in the order of norm_sites.csv")


def show_legend(figure: Figure, axes: Axes) -> None:
    """Show the legend of one panel, for all of them, next to the panels."""
    lines, labels = axes.get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside right upper", frameon=False, fontsize=10)


def short_names(sites: Sequence[str]) -> list[str]:
    """Shorten paths by the components that all of them begin or end with."""
    parts = [site.split(".") for site in sites]
    while len(sites) > 1 and all(len(path) > 1 for path in parts) and len({path[0] for path in parts}) == 1:
        parts = [path[1:] for path in parts]
    while len(sites) > 1 and all(len(path) > 1 for path in parts) and len({path[-1] for path in parts}) == 1:
        parts = [path[:-1] for path in parts]
    return [".".join(path) for path in parts]
