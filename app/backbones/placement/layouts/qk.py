"""QK norm: the model's own placement, and norms of queries and keys."""

from dataclasses import replace

from app.backbones.placement.layout import BranchInfo, Layout, checked_qk, register_placement


def _check(over: str) -> None:
    if over not in ("head", "width"):
        raise ValueError(f"over is {over!r}; allowed: head, width")


@register_placement("qk", _check)
def qk(branch: BranchInfo, *, over: str = "head") -> Layout:
    """Return the model's own placement, with N on queries and keys of self-attention, before positions are put in.

    `over` is head, a norm of each head's share (as in Qwen3), or width, of all heads together (as in OLMo-2). Dehghani
    et al. 2023, "Scaling Vision Transformers to 22 Billion Parameters"; Wortsman et al. 2023 (arXiv 2309.14322).
    """
    return replace(branch.native, queries_and_keys=checked_qk(over))
