"""B2T: post-norm, and the input of the block added before its last norm."""

from app.backbones.placement.layout import BranchInfo, Layout, register_placement


@register_placement("b2t")
def b2t(branch: BranchInfo) -> Layout:
    """Return y = N(h + F(h)), and N(h + F(h) + x) for the last branch of a block, x being the input of the block.

    Takase et al. 2023, "B2T Connection: Serving Stability and Performance in Deep Transformers" (arXiv 2206.00330).
    """
    return Layout(post=True, from_block_input=branch.is_last, end=False)
