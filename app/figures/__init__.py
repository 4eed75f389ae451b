"""Figures from what runs and benchmarks have written: curves, and what norms do to gradients and parameters."""

from app.figures.bands import bars, curve_bands
from app.figures.curves import draw_curves
from app.figures.drawing import save
from app.figures.norm_gradients import draw_norm_gradients
from app.figures.norm_parameters import draw_norm_parameters
from app.figures.norm_times import draw_norm_times

__all__ = [
    "draw_curves",
    "draw_norm_gradients",
    "draw_norm_parameters",
    "draw_norm_times",
    "bars",
    "curve_bands",
    "save",
]
