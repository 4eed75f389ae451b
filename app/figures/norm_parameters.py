"""norm_parameters.svg: how far gains and biases have moved, their share of the updates, and AdaNorm's factor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.figures.drawing import (
    COLOURS,
    Event,
    by_site,
    draw_by_depth,
    name_sites,
    new_depth_figure,
    place_sites,
    save,
    show_legend,
    style_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DISTANCES = (
    ("norm_param/gain_distance", "gain\nrms distance from 1"),
    ("norm_param/bias_distance", "bias\nrms distance from 0"),
)
_SHARES = (("norm_param/gain_update_share", "gains"), ("norm_param/bias_update_share", "biases"))
_BY_SITE = "norm_param/update_share"
_QUANTILES = ("01", "25", "50", "75", "99")


def draw_norm_parameters(events: Sequence[Event], sites: Sequence[str], title: str, path: Path) -> bool:
    """Draw a panel for each of these that was measured.

    Args:
        events: lines of metrics.jsonl in order.
        sites: paths of the norms in the order of depth.
        title: title of the figure; the run's signature.
        path: the file to write; replaced whole.

    Returns:
        Whether there was anything to draw.
    """
    distances = [(by_site(events, prefix, sites), label) for prefix, label in _DISTANCES]
    distances = [(values, label) for values, label in distances if values]
    quantiles = [by_site(events, f"norm_param/ky_q{name}", sites) for name in _QUANTILES]
    shares = [(label, [(e["step"], e[key]) for e in events if e.get(key) is not None]) for key, label in _SHARES]
    shares = [(label, points) for label, points in shares if points]
    of_sites = {step: values for step, values in by_site(events, _BY_SITE, sites).items() if any(values)}
    count = len(distances) + bool(of_sites) + bool(shares) + 2 * bool(quantiles[0])
    if not count:
        return False
    figure, panels = new_depth_figure(count, sites, title)
    rest = iter(panels)
    for values, label in distances:
        draw_by_depth(next(rest), values, sites, label, 0.001)
    if of_sites:
        percent = {step: [100 * value for value in values] for step, values in of_sites.items()}
        draw_by_depth(next(rest), percent, sites, "share of the\nsquared update (%)", 0.001)
    if quantiles[0]:
        beyond = by_site(events, "norm_param/ky_beyond_share", sites)
        draw_by_depth(next(rest), beyond, sites, "share of\n1 - k y <= 0", 0.01)
        _draw_quantiles(next(rest), [values[max(values)] for values in quantiles], sites, max(quantiles[0]))
    if distances or of_sites or quantiles[0]:
        name_sites(panels[0], sites)
        show_legend(figure, panels[0])
    if shares:
        _draw_shares(next(rest), shares)
    save(figure, path)
    return True


def _draw_shares(axes: Axes, shares: Sequence[tuple[str, list[tuple[int, float]]]]) -> None:
    for (label, points), colour in zip(shares, COLOURS, strict=False):
        axes.plot([x for x, _ in points], [100 * y for _, y in points], color=colour, marker="o", ms=4, label=label)
    axes.set_title("share of the squared\nupdate, all norms (%)", fontsize=11)
    axes.set_xlabel("step")
    axes.locator_params(axis="x", nbins=5)
    axes.set_ylim(bottom=0)
    style_axes(axes)
    axes.legend(frameon=False, fontsize=8)


def _draw_quantiles(axes: Axes, quantiles: Sequence[Sequence[float]], sites: Sequence[str], step: int) -> None:
    places = range(len(sites))
    low, lower, middle, upper, high = quantiles
    axes.fill_betweenx(places, low, high, color=COLOURS[0], alpha=0.2, linewidth=0, label="1 to 99 %")
    axes.fill_betweenx(places, lower, upper, color=COLOURS[0], alpha=0.4, linewidth=0, label="25 to 75 %")
    axes.plot(middle, places, color=COLOURS[0], marker="o", markersize=4, label="median")
    axes.axvline(1.0, color="0.4", linestyle=":", linewidth=1.4, label="1 - k y = 0")
    axes.set_title(f"k y\nat step {step:,}", fontsize=11)
    axes.locator_params(axis="x", nbins=5)
    place_sites(axes, sites)
    axes.legend(fontsize=9, loc="upper right", framealpha=0.9, edgecolor="none")
