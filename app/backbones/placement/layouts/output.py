"""OLMo-2's placement: on the output of each branch."""

from app.backbones.placement.layout import BranchInfo, Layout, checked_qk, register_placement


@register_placement("output", checked_qk)
def output(branch: BranchInfo, *, queries_and_keys: str = "none") -> Layout:
    """Return y = x + N(F(x)), and a norm after the last block; with `queries_and_keys` width a Llama becomes an OLMo-2.

    OLMo Team 2025, "2 OLMo 2 Furious", section 3.
    """
    return Layout(out=True, queries_and_keys=checked_qk(queries_and_keys))
