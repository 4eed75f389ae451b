"""Mix-LN: post-norm in the first blocks, pre-norm in the others."""

from app.backbones.placement.layout import BranchInfo, Layout, register_placement


def _check(post_layers: int) -> None:
    if post_layers < 0:
        raise ValueError(f"post_layers is {post_layers}; must be >= 0")


@register_placement("mix", _check)
def mix(branch: BranchInfo, *, post_layers: int = 1) -> Layout:
    """Return y = N(x + F(x)) in the first `post_layers` blocks, x + F(N(x)) in the others, and a norm after the last.

    Li et al. 2025, "Mix-LN" (arXiv 2412.13795), whose models have a quarter of their blocks post-norm. With no pre-norm
    block, none follows the last. Of an encoder and a decoder, `post_layers` may exceed the shorter.
    """
    most = max(branch.layers, branch.other_layers or 0)
    if post_layers > most:
        raise ValueError(f"post_layers is {post_layers}, and the model has {most} blocks; must be <= {most}")
    is_post = branch.layer <= post_layers
    return Layout(post=is_post, pre=not is_post, end=post_layers < branch.layers)
