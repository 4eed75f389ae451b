"""HybridNorm: norms of queries, keys and values, and a post-norm feed-forward network."""

from app.backbones.placement.layout import BranchInfo, Layout, register_placement


@register_placement("hybrid")
def hybrid(branch: BranchInfo) -> Layout:
    """Return y = n + F(n), n = N(x + A(x)), with norms of queries, keys and values in A.

    These are over each head's share, in self-attention only, and a norm follows the last block. Cross-attention is
    post-norm. Zhuo et al. 2025, "HybridNorm" (arXiv 2503.04598); their HybridNorm*, whose first block differs, is not
    meant.
    """
    if branch.kind == "ffn":
        return Layout()
    return Layout(post=True, queries_and_keys="head", values=True)
