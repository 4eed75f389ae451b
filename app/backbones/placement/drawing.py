"""The blocks of a model in a line each, such as `x -> norm -> attention -> + -> norm -> ffn -> +`, for a reader."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from torch import nn

from app.backbones.placement.hooks import END, OUTPUT, SCALE, Stream
from app.backbones.placement.parts import Block, Branch, parts_of
from app.backbones.sites import norm_sites
from app.errors import InputError

_PROJECTIONS = ("q", "k", "v")


def drawn_blocks(model: nn.Module) -> list[str]:
    """Return where the norms of each block stand, as found in a watched forward pass; equal neighbours share a line.

    Factors of a placement are not drawn. Empty where a line cannot tell the blocks: the model has none, or none with
    norms, or adds the input of a block before its last norm, as b2t does.
    """
    if any(isinstance(getattr(module, "shortcut", None), Stream) for module in model.modules()):
        return []
    try:
        parts = parts_of(model)
    except InputError:
        return []
    paths = [site.path for site in norm_sites(model)]
    lines = []
    for (stack, drawing), group in groupby(parts.blocks, lambda block: (block.stack, _drawn(model, block, paths))):
        numbers = [block.path.rpartition(".")[2] for block in group]
        span = numbers[0] if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"
        lines.append(f"{stack}.{span}: {drawing}")
    ended = [stack for stack, last in parts.ends.items() if f"{last}.{END}" in paths or stack in parts.finals]
    return lines + [f"{stack}, after its last block: norm" for stack in ended]


def _drawn(model: nn.Module, block: Block, paths: Sequence[str]) -> str:
    end = f"{block.path}.{END}"  # to who watches the stream a norm of the last block
    standing = {site.path for branch in block.branches for site in branch.norms.values()} | {end}
    inside = [path for path in paths if path.startswith(f"{block.path}.") and path not in standing]
    placed = [path.rsplit(".", 2)[0] for path in inside if path.endswith(f".{OUTPUT}")]  # by projections of one parent
    counts = [len(list(group)) for _, group in groupby(placed)]
    steps = ["x"]
    for branch in block.branches:
        own: list[str] = [at for at, site in branch.norms.items() if site.path != end]
        if branch.kind in ("attention", "cross_attention") and counts:
            own += _PROJECTIONS[: counts.pop(0)]
        if branch.kind != "other":  # which is the end alone
            steps += _steps(model, branch, own)
    others = len(inside) - len(placed)
    return " -> ".join(steps) + (f" (and {others} norms inside branches)" if others else "")


def _steps(model: nn.Module, branch: Branch, norms: Sequence[str]) -> list[str]:
    on = [name for name in _PROJECTIONS if name in norms]
    steps = ["norm"] if "pre" in norms else []
    steps.append(f"{branch.kind} (norm of {', '.join(on)})" if on else branch.kind)
    if branch.last is not None and hasattr(model.get_submodule(branch.last), SCALE):
        steps.append("scale")
    steps += ["norm"] if "out" in norms else []
    steps.append("+")
    return [*steps, "norm"] if "post" in norms else steps
