"""Where each norm of a model stands: its role, block, stack and width, found by watching a forward pass.

trace.py tells how what enters a norm depends on what left the norms before it, by derivatives. A norm whose input is
the residual stream belongs to the branch that follows (pre-norm), any other to the one before (post-norm, output norm,
sandwich). No name of a module or class is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from app.backbones.sites import NormSite
from app.backbones.trace import Blocks, Frame, Source, Target, Trace, gradients_of, made_up, rows_of
from app.norms import NormContext
from app.norms.context import Role, Stack


class FirstBlock(NamedTuple):
    """The block of a stack that runs first.

    Attributes:
        path: in the model.
        width: of the hidden states that it gets, (B, T, H), and gives.
        runs: how often it runs in a forward pass: several times where layers are shared.
    """

    path: str
    width: int
    runs: int


class Contexts(NamedTuple):
    """The result of `norm_contexts`.

    Attributes:
        by_path: the context of each site.
        unreached: paths of sites that the forward pass did not call; their roles and widths are unknown.
        first_blocks: of each stack that hands hidden states (B, T, H) from block to block.
        fault: why the forward pass failed, if it did; roles, widths, stacks and first blocks are then unknown.
    """

    by_path: dict[str, NormContext]
    unreached: frozenset[str]
    first_blocks: list[FirstBlock]
    fault: str | None


def norm_contexts(model: nn.Module, sites: Sequence[NormSite]) -> Contexts:
    """Find where each site stands.

    One forward pass over a tiny made-up input in eval mode; weights, modes and random state are as before.

    Args:
        model: a Hugging Face model; of any other module only the blocks are found.
        sites: the norms of the model, as `norm_sites` returns them.
    """
    blocks = Blocks(model, sites)
    fault, found, first_blocks = None, {}, []
    try:
        trace = Trace(model, sites, blocks)
        found, first_blocks = _read(trace), _first_blocks(trace)
    except Exception as error:  # of any class, because the model may be of any kind
        fault = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    by_path = {}
    for site in sites:
        layer, layers = blocks.place_of(site)
        by_path[site.path] = found.get(site.path, NormContext(layer=layer, layers=layers))
    return Contexts(by_path, frozenset(by_path.keys() - found.keys()), first_blocks, fault)


def _first_blocks(trace: Trace) -> list[FirstBlock]:
    first: dict[str, Frame] = {}
    for path, frame in trace.frames.items():
        first.setdefault(trace.blocks.stack_of[path], frame)
    found = []
    for frame in first.values():
        stream = frame.sources[0].leaf.shape if frame.sources else ()
        output = next((target.tensor.shape for target in frame.targets if target.site is None), ())
        if len(stream) == 3 and stream == output:
            found.append(FirstBlock(frame.block, stream[-1], trace.runs[frame.block]))
    return found


def _read(trace: Trace) -> dict[str, NormContext]:
    """The context of each norm that was called."""
    contexts: dict[str, NormContext] = {}
    kinds = stack_kinds(trace)
    for block, frame in trace.frames.items():
        stream = frame.sources[0].leaf if frame.sources else None  # (B, T, H), or (B, C, H, W)
        for site, role in roles_in(frame).items():
            layer, layers = trace.blocks.place_of(site)
            if layer == layers and _is_end(site, frame):
                role, layer = "final", None
            width = _size(site) if stream is None or stream.dim() > 3 else stream.shape[-1]
            contexts[site.path] = NormContext(role, layer, layers, width, kinds.get(trace.blocks.stack_of[block]))
    for call in trace.outside:
        final_of = next((stack for stack, output in call.outputs.items() if _is_final(call.target, output)), None)
        of_call: Role = "final" if final_of else "embedding" if call.stack_after else "other"
        at = final_of or call.stack_after or call.stack_before
        layers = None if at is None else len(trace.blocks.members(at))
        contexts[call.site.path] = NormContext(
            of_call, None, layers, _size(call.site), None if at is None else kinds.get(at)
        )
    return contexts


def stack_kinds(trace: Trace) -> dict[str, Stack]:
    """Return whether each stack is an encoder or a decoder, where it can be told."""
    kinds: dict[str, Stack] = {}
    for block, frame in trace.frames.items():
        stack = trace.blocks.stack_of[block]
        if stack not in kinds and (kind := _stack_kind(frame)):
            kinds[stack] = kind
    return kinds


def final_sites(trace: Trace) -> dict[str, NormSite]:
    """Return the norm after the last block of each stack, where there is one."""
    return {
        stack: call.site
        for call in trace.outside
        for stack, output in call.outputs.items()
        if _is_final(call.target, output)
    }


def roles_in(frame: Frame) -> dict[NormSite, Role]:
    """Return the role of each norm that was called in a block."""
    into = {target.site: target for target in frame.targets if target.site is not None}
    outputs = {source.site: source for source in frame.sources if source.site is not None}
    first_foreign = next((t for t in frame.targets if any(source.is_foreign for source in t.edges)), None)
    qk = qk_sites(frame)

    def branch(target: Target, source: Source) -> Role | None:
        """What lies between a source and a target; None for the stream."""
        if target.edges[source] == "identity":
            return None
        if target.site in qk or source.site in qk:
            return "attention"
        if source.is_foreign or (target is first_foreign and target.edges[source] == "map"):
            return "cross_attention"
        return "attention" if target.edges[source] == "mixing" else "ffn"

    roles: dict[NormSite, Role] = {}
    for site, target in into.items():
        output = outputs.get(site)
        reached = [other for other in frame.targets if output in other.edges]
        if site in qk:
            roles[site] = "qk"
            continue
        following = [] if output is None else [role for other in reached if (role := branch(other, output))]
        ranked: tuple[Role, ...] = ("attention", "cross_attention", "ffn")
        before = {branch(target, source) for source in target.edges}
        preceding = [role for role in ranked if role in before]
        if reads_stream(target, frame.targets[frame.targets.index(target) + 1 :]):
            roles[site] = following[0] if following else "other"
        else:
            roles[site] = [*preceding, *following, "other"][0]
    return roles


def qk_sites(frame: Frame) -> set[NormSite]:
    """Return the norms of queries, keys and values in a block."""
    outputs = {source.site: source for source in frame.sources if source.site is not None}
    return {
        target.site
        for target in frame.targets
        if target.site in outputs and _is_qk(outputs[target.site], target, frame.targets)
    }


def reads_stream(target: Target, later: Sequence[Target]) -> bool:
    """Return whether what a norm gets is the stream, which goes on around it.

    Args:
        target: the norm's input.
        later: the targets after it.
    """
    stream = [source for source, edge in target.edges.items() if edge == "identity"]
    return target.goes_on or any(source in other.edges for other in later for source in stream)


def _is_qk(output: Source, target: Target, targets: Sequence[Target]) -> bool:
    """Whether a norm stands on a projection in attention: what it gets is mixed on another way into what it reaches.

    The other way is the value's, or leads through another norm of this kind, such as the key's.
    """
    if "identity" in target.edges.values():
        return False
    reached = [other for other in targets if output in other.edges]
    for source in (source for source, edge in target.edges.items() if edge == "map"):
        siblings = {other.site for other in targets if other.site is not None and other.edges.get(source) == "map"}
        for other in reached:
            ways = [edge for way, edge in other.edges.items() if way is source or way.site in siblings]
            if "mixing" in ways:
                return True
    return False


def _is_end(site: NormSite, frame: Frame) -> bool:
    """Whether a norm gets the block's input plus all its branches, and what it gives is the output of the block."""
    target = next(target for target in frame.targets if target.site is site)
    output = next((source for source in frame.sources if source.site is site), None)
    end = frame.targets[-1]
    branches = [edge for source, edge in target.edges.items() if source is not frame.sources[0]]
    gets_all = len(branches) > 1 and ("mixing" in branches or set(branches) == {"identity"})
    is_output = list(end.edges) == [output] and set(end.edges.values()) == {"identity"}
    return is_output and gets_all and target.edges.get(frame.sources[0]) == "identity"


def _stack_kind(frame: Frame) -> Stack | None:
    """Whether the first position of a block that mixes sees later ones."""
    for target in frame.targets:
        for source, edge in target.edges.items():
            if edge == "mixing" and not source.is_foreign:
                gradient = gradients_of(target.tensor, [source], row=0)[0]
                if gradient is not None:
                    return "encoder" if bool(rows_of(gradient)[1:].count_nonzero()) else "decoder"
    return None


def _is_final(target: Target, output: Source) -> bool:
    """Whether a norm gets the output of a stack, or positions of it, or their mean, and nothing computed from it."""
    width = target.tensor.shape[-1]
    (gradient,) = gradients_of(target.tensor, [output], row=-1)
    if gradient is None or width not in gradient.shape:
        return False
    channels = gradient.dim() - 1 if gradient.shape[-1] == width else gradient.shape.index(width)
    if channels != gradient.dim() - 1 and len(rows_of(target.tensor)) > 1:
        return False  # between convolutions, which have channels first, and the layers of a transformer
    rows = rows_of(gradient.movedim(channels, -1))
    weights = made_up((width,), target.tensor)
    shares = (rows @ weights) / weights.square().sum()  # (R,): how much of each position there is
    tolerance = 100 * torch.finfo(weights.dtype).eps * float(shares.abs().max())
    return tolerance > 0 and torch.allclose(rows, shares.unsqueeze(-1) * weights, rtol=0, atol=tolerance)


def _size(site: NormSite) -> int:
    return torch.Size(site.shape).numel()
