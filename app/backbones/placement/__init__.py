"""Placement: where the norms of a model stand, as a second variable beside which norms they are.

1. `layouts/peri.py` registers a function from a branch of a block to a `Layout`; a new file needs no other edit.
2. `parts_of` (parts.py) finds the branches of a built model, the norms around them and the modules to hang others on.
3. `place_norms` (place.py) checks every branch, then moves and adds norms by the hooks of hooks.py.
4. `inject_norms` finds them like a model's own.
"""

import app.backbones.placement.layouts  # noqa: F401  # registers them
from app.backbones.placement.drawing import drawn_blocks
from app.backbones.placement.hooks import branch_scales
from app.backbones.placement.layout import BranchInfo, Layout, placement_names, register_placement
from app.backbones.placement.place import place_norms, placed_parts, placement_of
from app.backbones.placement.spec import PlacementSpec

__all__ = [
    "BranchInfo",
    "Layout",
    "PlacementSpec",
    "branch_scales",
    "drawn_blocks",
    "place_norms",
    "placed_parts",
    "placement_names",
    "placement_of",
    "register_placement",
]
