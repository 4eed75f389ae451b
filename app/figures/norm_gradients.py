"""norm_gradients.svg: what each norm does to the gradient that passes it, by depth and step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.figures.drawing import Event, by_site, draw_by_depth, name_sites, new_depth_figure, save, show_legend

_PANELS = (
    ("norm_grad/recentring", "re-centring\n|mean(dx)| / rms(dx)", 0.05),
    ("norm_grad/rescaling", "re-scaling\nvar(dx) $\\sigma^2$ / var(dy)", 1.05),
    ("norm_grad/sigma", "$\\sigma$\nof the norm's input", 0.1),
)


def draw_norm_gradients(events: Sequence[Event], sites: Sequence[str], title: str, path: Path) -> bool:
    """Draw panels of re-centring, re-scaling and sigma.

    Args:
        events: lines of metrics.jsonl in order.
        sites: paths of the norms in the order of depth.
        title: title of the figure; the run's signature.
        path: the file to write; replaced whole.

    Returns:
        Whether there was anything to draw.
    """
    found = [(by_site(events, prefix, sites), label, least) for prefix, label, least in _PANELS]
    if not found[0][0]:
        return False
    figure, panels = new_depth_figure(len(found), sites, title)
    for axes, (values, label, least) in zip(panels, found, strict=True):
        draw_by_depth(axes, values, sites, label, least)
    panels[1].axvline(1.0, color="0.4", linestyle=":", linewidth=1.4)
    name_sites(panels[0], sites)
    show_legend(figure, panels[0])
    save(figure, path)
    return True
