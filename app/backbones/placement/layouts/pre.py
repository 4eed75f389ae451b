"""Pre-norm: before each branch, and after the last block."""

from app.backbones.placement.layout import BranchInfo, Layout, checked_qk, register_placement


@register_placement("pre", checked_qk)
def pre(branch: BranchInfo, *, queries_and_keys: str = "none") -> Layout:
    """Return y = x + F(N(x)), and a norm after the last block.

    Xiong et al. 2020, "On Layer Normalization in the Transformer Architecture".
    """
    return Layout(pre=True, queries_and_keys=checked_qk(queries_and_keys))
