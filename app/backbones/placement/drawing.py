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

    Factors of a placement are not drawn. Where a line cannot tell the blocks, it says why.
    """
    if any(isinstance(getattr(module, "shortcut", None), Stream) for module in model.modules()):
        return ["not drawn: the last norm of a block also gets the input of the block, which a line cannot show"]
    try:
        parts = parts_of(model)
    except InputError as error:
        return [f"not drawn: {str(error).removesuffix('; use --placement native')}"]
    paths = [site.path for site in norm_sites(model)]
    lines = []
    by_list = groupby(parts.blocks, lambda block: (block.path.rpartition(".")[0], _drawn(model, block, paths)))
    for (around, drawing), group in by_list:
        numbers = [block.path.rpartition(".")[2] for block in group]
        span = numbers[0] if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"
        lines.append(f"{around}.{span}: {drawing}")
    ended = [stack for stack, last in parts.ends.items() if f"{last}.{END}" in paths or stack in parts.finals]
    return lines + [f"{stack}, after its last block: norm" for stack in ended]


def _drawn(model: nn.Module, block: Block, paths: Sequence[str]) -> str:
    end = f"{block.path}.{END}"  # to who watches the stream a norm of the last block
    branches = [branch for branch in block.branches if branch.kind != "other" or not _is_end(branch, end)]
    if not any(branch.norms for branch in branches):
        return "not drawn: no norm stands before or after a branch"
    for branch in branches:
        if branch.kind == "other" or (branch.last is None and not {"out", "post"} & branch.norms.keys()):
            what = "a branch" if branch.kind == "other" else f"its {branch.kind} branch"
            return f"not drawn: {what} is not added to the stream by itself: parallel to another, scaled, or 0"
    standing = {site.path for branch in branches for site in branch.norms.values()} | {end}
    inside = [path for path in paths if path.startswith(f"{block.path}.") and path not in standing]
    placed = [path.rsplit(".", 2)[0] for path in inside if path.endswith(f".{OUTPUT}")]  # by projections of one parent
    counts = [len(list(group)) for _, group in groupby(placed)]
    others = [path for path in inside if not path.endswith(f".{OUTPUT}")]
    steps = ["x"]
    for branch in branches:
        own: list[str] = [at for at, site in branch.norms.items() if site.path != end]
        native = [path for path in branch.on_queries_and_keys if path in others]
        if branch.kind in ("attention", "cross_attention") and counts:
            own += _PROJECTIONS[: counts.pop(0)]
        elif len(native) == 2:
            own += _PROJECTIONS[:2]
            others = [path for path in others if path not in native]
        steps += _steps(model, branch, own)
    said = "" if not others else f" (and {len(others)} {'norm' if len(others) == 1 else 'norms'} inside branches)"
    return " -> ".join(steps) + said


def _is_end(branch: Branch, end: str) -> bool:
    return all(site.path == end for site in branch.norms.values())


def _steps(model: nn.Module, branch: Branch, norms: Sequence[str]) -> list[str]:
    on = [name for name in _PROJECTIONS if name in norms]
    steps = ["norm"] if "pre" in norms else []
    steps.append(f"{branch.kind} (norm of {', '.join(on)})" if on else branch.kind)
    if branch.last is not None and hasattr(model.get_submodule(branch.last), SCALE):
        steps.append("scale")
    steps += ["norm"] if "out" in norms else []
    steps.append("+")
    return [*steps, "norm"] if "post" in norms else steps
