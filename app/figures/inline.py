"""Figures inside a page: letters are text, and what is drawn says which series and which run it is of."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

_SVG, _MARK, _BETWEEN = "http://www.w3.org/2000/svg", "series::", "::"
ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")


def name_artist(artist: Artist, series: str, *words: str) -> None:
    """Note which series something drawn belongs to, and what a reader who points at it is told; of dots, at each."""
    artist.set_gid(_BETWEEN.join([f"{_MARK}{series}", *words]))


def inline_svg(figure: Figure, name: str, words: str) -> str:
    """Draw a figure as an svg element of a page.

    What is drawn has the words of `name_artist`: `data-series` and `data-name`.

    Args:
        figure: the figure.
        name: a name that no other figure of the page has, so that no id is used twice.
        words: what it shows, for readers who do not see it.
    """
    from matplotlib import rc_context

    drawn = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = ElementTree.fromstring(drawn.getvalue())
    for parent in root.iter():
        for child in list(parent):
            # matplotlib's style would hold for the whole page
            if child.tag in (f"{{{_SVG}}}style", f"{{{_SVG}}}metadata"):
                parent.remove(child)
    for element in root.iter(f"{{{_SVG}}}g"):
        mark = element.attrib.pop("id", "")  # axes_1 and the like, which every figure has
        if mark.startswith(_MARK):
            series, *names = mark[len(_MARK) :].split(_BETWEEN)
            element.attrib["data-series"] = series
            dots = list(element.iter(f"{{{_SVG}}}use"))
            for named, name_of_it in zip(dots if len(names) > 1 else [element], names, strict=True):
                named.attrib["data-name"] = name_of_it
    width = float(figure.get_figwidth())
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-label": words,
        "style": f"max-width: {96 * width:.0f}px; stroke-linejoin: round; stroke-linecap: butt",
    }
    return ElementTree.tostring(root, encoding="unicode")
