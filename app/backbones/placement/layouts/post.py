"""Post-norm: after each sum."""

from app.backbones.placement.layout import BranchInfo, Layout, register_placement


@register_placement("post")
def post(branch: BranchInfo) -> Layout:
    """Return y = N(x + F(x)). Vaswani et al. 2017, "Attention Is All You Need", section 3.1."""
    return Layout(post=True, end=False)
