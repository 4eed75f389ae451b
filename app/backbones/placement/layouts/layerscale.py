"""LayerScale: pre-norm, and a learned factor for each feature of a branch's output."""

from app.backbones.placement.layout import BranchInfo, Layout, register_placement


@register_placement("layerscale")
def layerscale(branch: BranchInfo, *, init: float = 0.1) -> Layout:
    """Return y = x + gamma * F(N(x)), with gamma of the width learned from `init`, and a norm after the last block.

    Touvron et al. 2021, "Going deeper with Image Transformers" (CaiT), section 2: 0.1 to 18 layers, less beyond.
    """
    return Layout(pre=True, branch_scale=init, scale_is_vector=True)
