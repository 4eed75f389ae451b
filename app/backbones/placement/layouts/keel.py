"""Keel: a norm before each branch and one after the sum, with a larger residual."""

from app.backbones.placement.layout import BranchInfo, Layout, check_positive, register_placement
from app.norms import AUTO, Auto


@register_placement("keel", check_positive)
def keel(branch: BranchInfo, *, alpha: float | Auto = AUTO) -> Layout:
    """Return y = N(alpha x + F(N(x))), where alpha auto is the number of blocks of the stack.

    Chen and Wei 2026, "Post-LayerNorm Is Back" (arXiv 2601.19895).
    """
    factor = float(branch.layers) if alpha == AUTO else alpha
    return Layout(pre=True, post=True, residual_factor=factor, end=False)
