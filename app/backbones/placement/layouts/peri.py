"""Peri-LN, or sandwich norm: before each branch and on its output."""

from app.backbones.placement.layout import BranchInfo, Layout, checked_qk, register_placement


@register_placement("peri", checked_qk)
def peri(branch: BranchInfo, *, queries_and_keys: str = "none") -> Layout:
    """Return y = x + N(F(N(x))), and a norm after the last block.

    Kim et al. 2025, "Peri-LN" (arXiv 2502.02732). Their optional norm of the embeddings is not added; one that the
    model has stays.
    """
    return Layout(pre=True, out=True, queries_and_keys=checked_qk(queries_and_keys))
