"""LayerNorm Scaling: pre-norm, divided by the root of the block's number."""

import math

from app.backbones.placement.layout import BranchInfo, Layout, register_placement


@register_placement("scaled")
def scaled(branch: BranchInfo) -> Layout:
    """Return y = x + F(N(x) / sqrt(l)) in block l, and a norm after the last block.

    Sun et al. 2025, "The Curse of Depth in Large Language Models" (arXiv 2502.05795): LayerNorm Scaling.
    """
    return Layout(pre=True, norm_factor=1 / math.sqrt(branch.layer))
