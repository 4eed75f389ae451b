"""The pictures of a report, each in the page, for broad and for narrow screens, and as svg and pdf files next to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.figures import Curve, Sensitivity, curve_bands, dots, dots_by_site, inline_svg, save, sensitivity
from app.figures.dots import is_nothing
from app.figures.drawing import short_names
from app.metrics import LOSS, MetricInfo
from app.study.report.records import RunRecord
from app.study.tuning import Tuned, TuningResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_SITES = 40  # of which a picture can be read


@dataclass(frozen=True)
class Plot:
    """A picture in the page.

    Attributes:
        name: of its files.
        caption: what it shows.
        broad: svg for a screen.
        narrow: svg for a phone.
    """

    name: str
    caption: str
    broad: str
    narrow: str


class Gallery:
    """Draws pictures into a folder, and keeps what the page shows of them.

    Args:
        folder: where the files go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, name: str, caption: str, draw: Callable[[bool], Figure]) -> Plot:
        """Draw a picture, whose function is told whether it is for a narrow screen."""
        broad, narrow = draw(False), draw(True)
        broad.draw_without_rendering()  # its layout, once for all formats
        broad.set_layout_engine("none")
        for suffix in ("pdf", "svg"):
            save(broad, self._folder / f"{name}.{suffix}")
        return Plot(name, caption, inline_svg(broad, name, caption), inline_svg(narrow, f"{name}-narrow", caption))


def curves_of(
    gallery: Gallery, name: str, records: Sequence[RunRecord], norms: Sequence[str], metric: MetricInfo, twin: bool
) -> Plot:
    """Curves of loss, metric and gap, by norm."""
    runs = {
        norm: [Curve(r.name, r.curve, r.state == "diverged") for r in records if r.variant == norm and r.curve]
        for norm in norms
    }
    metrics = list(dict.fromkeys((LOSS, metric)))
    caption = "Means over the runs that finished, with a band of one standard deviation"
    if any(curve.diverged for curves in runs.values() for curve in curves):
        caption += "; each run that diverged is a dotted line that ends in a cross"
    return gallery.add(name, caption, lambda narrow: curve_bands(runs, metrics, "", twin, 1 if narrow else None))


def dots_of(
    gallery: Gallery, name: str, quantities: Mapping[str, Mapping[str, Mapping[str, float]]]
) -> list[Plot | str]:
    """Quantities of each run by norm; those that are 0 everywhere are said in words."""
    found: list[Plot | str] = []
    seen = {quantity: values for quantity, values in quantities.items() if any(values.values())}
    shown = {quantity: values for quantity, values in seen.items() if not is_nothing(values)}
    if shown:
        caption = "A dot for each run, a line at the mean of each norm"
        found.append(gallery.add(name, caption, lambda narrow: dots(shown, "", 1 if narrow else None)))
    if zeros := [quantity for quantity in seen if quantity not in shown]:
        found.append(f"0 in all runs, but for rounding (below 0.000001): {', '.join(zeros)}.")
    return found


def gradients_of(gallery: Gallery, name: str, records: Sequence[RunRecord], norms: Sequence[str]) -> list[Plot | str]:
    """What each norm does to the gradient at each site: not a mean over sites, in which one site's effect is lost."""
    sites = list(dict.fromkeys(site for record in records for site in record.sites))
    if not sites:
        return []
    chosen = sites if len(sites) <= _MOST_SITES else sites[:: -(-len(sites) // _MOST_SITES)]
    kinds: dict[str, Callable[[Mapping[str, float]], float]] = {
        "re-centring\n|mean(dx)| / rms(dx)": lambda at: at.get("recentring", math.nan),
        "1 minus re-scaling\n1 - var(dx) σ² / var(dy)": lambda at: 1.0 - at.get("rescaling", math.nan),
    }
    values = {
        kind: {
            norm: {r.name: [read(r.sites.get(site, {})) for site in chosen] for r in records if r.variant == norm}
            for norm in norms
        }
        for kind, read in kinds.items()
    }
    shown, zeros = {}, []
    for kind, by_norm in values.items():
        known = {
            norm: {run: dict(enumerate(v for v in at if not math.isnan(v))) for run, at in runs.items()}
            for norm, runs in by_norm.items()
        }
        seen = {norm: runs for norm, runs in known.items() if any(runs.values())}
        nothing = [norm for norm, runs in seen.items() if all(is_nothing({run: at}) for run, at in runs.items())]
        if nothing:
            what = f"{kind.splitlines()[0]} is 0 at every site, but for rounding (below 0.000001)"
            zeros.append(f"{what}, with {', '.join(nothing)}.")
        if len(nothing) < len(seen):
            shown[kind] = by_norm
    found: list[Plot | str] = []
    if shown:
        caption = "The last measured step, by site from the input to the output; hollow marks are values below 0"
        if len(chosen) < len(sites):
            caption += f"; {len(chosen)} of {len(sites)} sites, evenly apart"
        names = short_names(chosen)
        found.append(gallery.add(name, caption, lambda narrow: dots_by_site(shown, names, "", 1 if narrow else None)))
    return [*found, *zeros]


def tuning_of(gallery: Gallery, name: str, found: TuningResult, norms: Sequence[str]) -> list[Plot | str]:
    """What tuning has tried and chosen, by norm: in words, and in a picture where one numeric setting was tuned."""
    items: list[Plot | str] = [f"{sentence}." for sentence in found.words]
    by_label = {one.variant.label: one for one in found.tuned}
    values = [point.at.get(found.keys[0]) for one in found.tuned for point in one.points]
    if len(found.keys) > 1 or not all(isinstance(value, int | float) for value in values):
        return items
    nothing = Sensitivity({})  # keeps the colours of the others
    shown = {label: _sensitivity(by_label[label], found.keys[0]) if label in by_label else nothing for label in norms}
    score = f"valid {found.metric.label}" + (" (%)" if found.metric.is_share else "")
    caption = (
        "Validation score by value: a dot for each tuning run, a large mark at the chosen value, a cross for a run "
        "that diverged, a bar over the interval of the optimum; and the expected best score by the number of tries"
    )
    plot = gallery.add(
        name, caption, lambda narrow: sensitivity(shown, found.keys[0], score, "", 1 if narrow else None)
    )
    return [plot, *items]


def _sensitivity(one: Tuned, key: str) -> Sensitivity:
    return Sensitivity(
        scores={
            float(point.at[key]): {
                f"{one.variant.label}, {key.rpartition('.')[2]}={point.at[key]:g}, seed {seed}": None
                if math.isnan(score)
                else score
                for seed, score in point.scores.items()
            }
            for point in one.points
        },
        chosen=None if one.best is None else float(one.best[key]),
        optimum=(one.optimum.low, one.optimum.high)
        if one.optimum is not None and math.isfinite(one.optimum.high)
        else None,
        best_of=[(of.n, of.expected, of.low, of.high) for of in one.curve],
    )
