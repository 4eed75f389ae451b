"""ReZero: no norms, and a learned factor of each branch that begins at 0."""

from app.backbones.placement.layout import BranchInfo, Layout, register_placement


@register_placement("rezero")
def rezero(branch: BranchInfo) -> Layout:
    """Return y = x + a F(x), with a number a for each branch, learned from 0.

    Bachlechner et al. 2020, "ReZero is All You Need" (arXiv 2003.04887), whose code shares a between the branches of a
    block.
    """
    return Layout(branch_scale=0.0, end=False)
