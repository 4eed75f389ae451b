"""ReZero: no norms, and a learned factor of each branch that begins at 0."""

from app.backbones.placement.layout import BranchInfo, Layout, register_placement


@register_placement("rezero")
def rezero(branch: BranchInfo) -> Layout:
    """Return y = x + a F(x), with the number a learned from 0. Bachlechner et al. 2020 (arXiv 2003.04887)."""
    return Layout(branch_scale=0.0, end=False)
