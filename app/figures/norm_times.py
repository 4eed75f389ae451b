"""The picture of the benchmark of norms: time relative to layer norm, by norm, shape and number of threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from app.figures.drawing import COLOURS, MARKERS, new_figure, save, show_legend, style_axes

_TICKS = (0.03, 0.1, 0.3, 1, 3, 10)


def draw_norm_times(rows: Sequence[Mapping[str, str]], path: Path) -> None:
    """Draw a panel per number of threads: a line per norm, a dot per shape, a bar from quartile to quartile.

    Args:
        rows: of norms.csv or norms_eager.csv of the benchmark.
        path: the file to write; replaced whole.

    Raises:
        KeyError: if a column is missing.
        ValueError: if there are no rows, or a time is not a number.
    """
    norms, shapes, threads = ([*dict.fromkeys(row[key] for row in rows)] for key in ("norm", "shape", "threads"))
    figure, panels = new_figure(
        len(threads),
        "forward and backward, time relative to F.layer_norm (eager)",
        width=4.2,
        height=1 + 0.22 * len(norms),
    )
    for axes, count in zip(panels, threads, strict=True):
        for number, shape in enumerate(shapes):
            chosen = [row for row in rows if (row["threads"], row["shape"]) == (count, shape)]
            low, middle, high = ([float(row[f"eager{name}"]) for row in chosen] for name in (" low", "", " high"))
            places = [norms.index(row["norm"]) + 0.18 * (number - (len(shapes) - 1) / 2) for row in chosen]
            colour = COLOURS[number % len(COLOURS)]
            axes.hlines(places, low, high, color=colour, linewidth=1)
            axes.plot(middle, places, MARKERS[number % len(MARKERS)], color=colour, markersize=3, label=shape)
        axes.axvline(1.0, color="0.4", linestyle=":", linewidth=1.4)
        axes.set_xscale("log")
        axes.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
        axes.minorticks_off()
        axes.set_title(f"threads: {count}", fontsize=10)
        axes.set_yticks(range(len(norms)), norms if axes is panels[0] else [""] * len(norms), fontsize=9)
        axes.invert_yaxis()
        style_axes(axes)
    show_legend(figure, panels[0])
    save(figure, path)
