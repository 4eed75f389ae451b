"""Figures from what runs and benchmarks have written: curves, comparisons, and what norms do to gradients."""

from app.figures.bands import Curve, curve_bands
from app.figures.curves import draw_curves
from app.figures.dots import dots, dots_by_site
from app.figures.drawing import save
from app.figures.forest import ForestRow, forest
from app.figures.inline import inline_svg
from app.figures.norm_gradients import draw_norm_gradients
from app.figures.norm_parameters import draw_norm_parameters
from app.figures.norm_times import draw_norm_times
from app.figures.sensitivity import Sensitivity, sensitivity

__all__ = [
    "Curve",
    "ForestRow",
    "Sensitivity",
    "curve_bands",
    "dots",
    "dots_by_site",
    "draw_curves",
    "draw_norm_gradients",
    "draw_norm_parameters",
    "draw_norm_times",
    "forest",
    "inline_svg",
    "save",
    "sensitivity",
]
