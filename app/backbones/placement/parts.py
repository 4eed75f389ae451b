"""The parts of a model's blocks: its branches, the norms around each, and the modules where others can be put.

Found on the built model by one watched forward pass (see `app.backbones.trace`): a branch is what lies between two
states of the residual stream; its end is the module that gives exactly what is added to the stream.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from app.backbones.context import final_sites, qk_sites, reads_stream, roles_in, stack_kinds
from app.backbones.sites import NormSite, norm_sites
from app.backbones.trace import Blocks, Frame, ModuleCall, Source, Target, Trace, gradients_of, rows_of
from app.errors import InputError
from app.norms.context import Role, Stack

Position = Literal["pre", "out", "post", "q", "k", "v"]
_ROUNDING = 2 * torch.finfo(torch.float32).eps  # of one sum, in any order, relative to the largest value


@dataclass(eq=False)
class Branch:
    """A branch of a block: F in x + F(x).

    Attributes:
        kind: attention, cross_attention or ffn.
        norms: the model's own norms: before it, on its output (before or after the sum), and on queries and keys.
        entries: modules that take its input and nothing else of the stream, called in this order; empty where they
            cannot be told, and where a norm stands before it.
        last: the module that gives what is added to the stream, dropout not counted; None where there is none.
        end: the same after dropout.
        is_exact_in_training: whether what `end` gives is added to the stream in training too, so that no dropout
            follows outside of modules.
        projections: of attention, the modules that give queries, keys and values, where they are three.
        linears: modules with a matrix, in the order of their calls.
        on_queries_and_keys: paths of the model's own norms there.
    """

    kind: Role
    norms: dict[Position, NormSite] = field(default_factory=dict)
    entries: list[str] = field(default_factory=list)
    last: str | None = None
    end: str | None = None
    is_exact_in_training: bool = False
    projections: dict[Position, str] = field(default_factory=dict)
    linears: list[str] = field(default_factory=list)
    on_queries_and_keys: list[str] = field(default_factory=list)


@dataclass(eq=False)
class Block:
    """A block of a model.

    Attributes:
        path: module path.
        layer: its number from 1.
        layers: number of blocks in its stack.
        stack: path of the stack.
        kind: encoder or decoder.
        branches: in the order of the forward pass.
        runs: how often it runs in a forward pass: several times where layers are shared.
        others: modules whose weights are in no branch's `linears`: stacked matrices, and what the pass did not call,
            such as experts.
    """

    path: str
    layer: int
    layers: int
    stack: str
    kind: Stack | None
    branches: list[Branch]
    runs: int
    others: list[str]


@dataclass(eq=False)
class Parts:
    """The parts of a model.

    Attributes:
        blocks: in the order of the forward pass.
        finals: the norm after the last block of each stack, where there is one.
        ends: the last block of each stack.
    """

    blocks: list[Block]
    finals: dict[str, NormSite]
    ends: dict[str, str]


def parts_of(model: nn.Module) -> Parts:
    """Find the parts of a model.

    Raises:
        InputError: if the model refuses the made-up input, or a block is not a sum of branches.
    """
    sites = norm_sites(model)
    blocks = Blocks(model, sites)
    name = type(model).__name__
    try:
        trace = Trace(model, sites, blocks, with_calls=True)
        training = Trace(model, sites, blocks, with_calls=True, training=True)
    except Exception as error:  # of any class, because the model may be of any kind
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"the blocks of {name} cannot be watched ({said}); use --placement native") from error
    kinds = stack_kinds(trace)
    found = []
    for path, frame in trace.frames.items():
        positions = positions_in(frame)
        walks = _walk(frame, positions, model)
        if path in training.frames:
            for walked, again in zip(walks, _walk(training.frames[path], positions, model), strict=False):
                walked.branch.is_exact_in_training = walked.branch.end is not None and again.gives(walked.branch.end)
        stack = blocks.stack_of[path]
        members = blocks.members(stack)
        found.append(
            Block(
                path,
                members.index(path) + 1,
                len(members),
                stack,
                kinds.get(stack),
                [walked.branch for walked in walks],
                trace.runs[path],
                _others(model, frame),
            )
        )
    if not found:
        raise InputError(f"{name} has no list of blocks with norms; use --placement native")
    ends = {block.stack: blocks.members(block.stack)[-1] for block in found}
    return Parts(found, final_sites(trace), ends)


def plain_parts(parts: Parts) -> dict[str, Any]:
    """Return parts in plain types, norms by their paths; `parts_from` is the inverse.

    Every string in it is a module path, save those of the key kind.
    """
    return {
        "blocks": [
            {
                **vars(block),
                "branches": [
                    {**vars(branch), "norms": {position: site.path for position, site in branch.norms.items()}}
                    for branch in block.branches
                ],
            }
            for block in parts.blocks
        ],
        "finals": [[stack, site.path] for stack, site in parts.finals.items()],
        "ends": [[stack, path] for stack, path in parts.ends.items()],
    }


def parts_from(plain: dict[str, Any], model: nn.Module) -> Parts:
    """Return the parts that `plain_parts` described, in a model whose norms have not been placed.

    Raises:
        KeyError, TypeError, ValueError: if it describes none, or those of a model that has other norms.
    """
    sites = {path: site for site in norm_sites(model) for path in site.paths}
    blocks = []
    for block in plain["blocks"]:
        branches = [
            Branch(**{**branch, "norms": {position: sites[path] for position, path in branch["norms"].items()}})
            for branch in block["branches"]
        ]
        blocks.append(Block(**{**block, "branches": branches}))
    return Parts(blocks, {stack: sites[path] for stack, path in plain["finals"]}, dict(plain["ends"]))


def positions_in(frame: Frame) -> dict[NormSite, Position | Literal["qk", "inner"]]:
    """Return where each norm of a block stands.

    pre: it reads the stream, and a branch gets what it gives. post: the stream goes on from it alone. out: what it
    gives is added to the stream. qk: on queries or keys. inner: anywhere else in a branch.
    """
    qk = qk_sites(frame)
    outputs = {source.site: source for source in frame.sources if source.site is not None}
    positions: dict[NormSite, Position | Literal["qk", "inner"]] = {}
    for number, target in enumerate(frame.targets):
        site = target.site
        if site is None or site not in outputs:
            continue
        later = frame.targets[number + 1 :]
        reached = [other for other in later if outputs[site] in other.edges]
        older = [source for source in target.sources if not source.is_foreign and source.site not in qk]
        goes_around = any(source in other.edges for other in later for source in older)
        if site in qk:
            positions[site] = "qk"
        elif reads_stream(target, later):
            positions[site] = "pre"
        elif not goes_around:
            positions[site] = "post"
        else:
            is_added = any(other.edges[outputs[site]] == "identity" for other in reached)
            positions[site] = "out" if is_added else "inner"
    return positions


@dataclass(eq=False)
class _Walked:
    """A branch, with the tensors of the pass: the stream before it, and after it or what is added."""

    branch: Branch
    before: Tensor
    frame: Frame
    after: Tensor | None = None
    added: Tensor | None = None

    def gives(self, path: str) -> bool:
        """Whether the stream after the branch is that before it plus the output of a module."""
        return any(call.path == path and self._makes_the_sum(call.given) for call in self.frame.calls)

    def is_added(self, value: Tensor) -> bool:
        """Whether a tensor is what the branch adds, if it is large enough to be told from rounding."""
        least = 0.0 if self.added is not None else 8 * _ROUNDING * float(self.before.detach().abs().max())
        return float(value.detach().abs().max()) > least and self._makes_the_sum(value)

    def _makes_the_sum(self, value: Tensor) -> bool:
        """Whether a tensor, which may be zero where the branch is dropped, is what the branch adds."""
        if self.added is not None:
            return _same(value, self.added)
        assert self.after is not None
        if value.numel() != self.before.numel() or value.shape[-1:] != self.before.shape[-1:]:
            return False
        return _same(rows_of(value) + rows_of(self.before), self.after, _ROUNDING)


def _walk(
    frame: Frame, positions: dict[NormSite, Position | Literal["qk", "inner"]], model: nn.Module
) -> list[_Walked]:
    """Follow the stream through a block."""
    outputs = {source.site: source.leaf for source in frame.sources if source.site is not None}
    roles = roles_in(frame)
    value: Tensor = frame.sources[0].leaf
    walks: list[_Walked] = []
    current: _Walked | None = None
    waiting: list[str] = []  # norms of queries and keys in a branch that no norm has opened yet

    def opened() -> _Walked:
        walks.append(_Walked(Branch("other", on_queries_and_keys=[*waiting]), value, frame))
        waiting.clear()
        return walks[-1]

    for target in frame.targets:
        site = target.site
        position = "end" if site is None else positions.get(site)
        if site is not None and position == "pre":
            if current is None and not _same(target.tensor, value, _ROUNDING):
                current = opened()  # a branch without a norm before it
            if current is not None:
                current.after = target.tensor
            value = target.tensor
            current = opened()
            current.branch.norms["pre"] = site
        elif site is not None and position == "qk":
            (waiting if current is None else current.branch.on_queries_and_keys).append(site.path)
        elif site is not None and position == "out":
            current = current or opened()
            current.branch.norms["out"], current.added = site, target.tensor
            value = rows_of(value) + rows_of(outputs[site])
            value, current = value.reshape(current.before.shape), None
        elif site is not None and position == "post":
            current = current or opened()
            current.branch.norms["post"], current.after = site, target.tensor
            value, current = outputs[site], None
        elif position == "end":
            if current is None and not _same(target.tensor, value, _ROUNDING):
                current = opened()
            if current is not None:
                current.after = target.tensor
    for number, walked in enumerate(walks):
        _complete(walked, frame, positions, roles, model, is_first=number == 0)
    return walks


def _complete(
    walked: _Walked,
    frame: Frame,
    positions: dict[NormSite, Position | Literal["qk", "inner"]],
    roles: dict[NormSite, Role],
    model: nn.Module,
    is_first: bool,
) -> None:
    """Find the modules of a branch."""
    branch = walked.branch
    of_norms = [roles[site] for site in branch.norms.values()]
    counts = Counter(call.path for call in frame.calls)
    once = [call for call in frame.calls if counts[call.path] == 1]
    giving = [call for call in once if walked.is_added(call.given)]
    if giving:
        branch.last, branch.end = giving[0].path, giving[-1].path
    before_norm = branch.norms.get("pre")
    reads = walked.before if before_norm is None else _output_of(frame, before_norm)
    norm_paths = [path for site in positions for path in site.paths]
    taking = [
        call
        for call in once
        if any(_same(value, reads) for value in call.inputs)
        and not _same(call.output, reads)
        and not any(path.startswith(f"{call.path}.") for path in norm_paths)
    ]
    entries = [call for call in taking if not any(call.path.startswith(f"{other.path}.") for other in taking)]
    end = frame.calls.index(giving[-1]) if giving else len(frame.calls)
    inside = [call for call in once if frame.calls.index(call) <= end and _weight(model, call) is not None]
    first = min((frame.calls.index(call) for call in taking), default=end)
    branch.linears = [call.path for call in inside if frame.calls.index(call) >= min(first, end)]
    if before_norm is None:
        branch.entries = [call.path for call in entries]
    target = next(
        (t for t in frame.targets if t.tensor is (walked.added if walked.added is not None else walked.after)), None
    )
    branch.kind = of_norms[0] if of_norms else "attention" if is_first else "ffn"
    if branch.kind in ("attention", "cross_attention") and target is not None:
        read = [reads, *(source.leaf for source in frame.sources if source.is_foreign)]
        heads = [call for call in inside if any(_same(value, x) for value in call.inputs for x in read)]
        later = inside[inside.index(heads[-1]) + 1 :] if heads else []
        found = (_projections(heads, call.inputs[0], target) for call in later if call.inputs[0].requires_grad)
        branch.projections = next(filter(None, found), {})
        for site, position in positions.items():
            if position == "qk":
                for name, path in branch.projections.items():
                    if any(call.path == path and _same(call.output, _input_of(frame, site)) for call in once):
                        branch.norms[name] = site


def _projections(heads: Sequence[ModuleCall], mixed: Tensor, target: Target) -> dict[Position, str]:
    """Tell queries, keys and values apart by how one position of the branch's output depends on each.

    It depends on the query of its own position alone. The values mixed, which a later matrix reads, are linear in the
    values, so that derivative times value, summed, is the same for both; keys are within the softmax.

    Args:
        heads: calls of matrices that read the input of the branch.
        mixed: what a later matrix reads.
        target: what the branch gives.

    Returns:
        The three paths, or nothing where they are not three or `mixed` is something else.
    """
    found: dict[Position, list[str]] = {"q": [], "k": [], "v": []}
    tensors = [mixed, *(call.output for call in heads)]
    row = rows_of(target.tensor).shape[0] * 5 // 8
    gradients = gradients_of(target.tensor, [Source(t) for t in tensors], row)
    products = [None if g is None else g.double() * t.detach() for g, t in zip(gradients, tensors, strict=True)]
    of_mixed = products[0]
    if of_mixed is None:
        return {}
    for call, gradient, product in zip(heads, gradients[1:], products[1:], strict=True):
        if gradient is None or product is None:
            continue
        if int(rows_of(gradient).count_nonzero(dim=1).count_nonzero()) <= 1:
            found["q"].append(call.path)
        elif abs(float(product.sum() - of_mixed.sum())) <= 1e-4 * float(of_mixed.abs().sum()):
            found["v"].append(call.path)
        else:
            found["k"].append(call.path)
    return {name: paths[0] for name, paths in found.items()} if all(len(p) == 1 for p in found.values()) else {}


def _output_of(frame: Frame, site: NormSite) -> Tensor:
    return next(source.leaf for source in frame.sources if source.site is site)


def _input_of(frame: Frame, site: NormSite) -> Tensor:
    return next(target.tensor for target in frame.targets if target.site is site)


def _weight(model: nn.Module, call: ModuleCall) -> Tensor | None:
    """The matrix of a module without children, such as nn.Linear; None for other modules."""
    module = model.get_submodule(call.path)
    weight = getattr(module, "weight", None)
    is_linear = isinstance(weight, nn.Parameter) and weight.dim() == 2 and not isinstance(module, nn.Embedding)
    return weight if is_linear else None


def _others(model: nn.Module, frame: Frame) -> list[str]:
    """The modules of a block with weights that are not a matrix, or that were not called."""
    called = {call.path for call in frame.calls}
    return [
        path
        for name, module in model.get_submodule(frame.block).named_modules()
        for path in [f"{frame.block}.{name}".removesuffix(".")]
        if any(w.dim() > 2 or (w.dim() == 2 and path not in called) for w in module.parameters(recurse=False))
    ]


def _same(one: Tensor, other: Tensor, tolerance: float = 1e-5) -> bool:
    """Whether two tensors have the same positions, in whatever shape, up to a tolerance relative to the largest one."""
    if one.numel() != other.numel() or not one.dim() or not other.dim():
        return False
    difference = (one.reshape(-1) - other.reshape(-1)).abs()
    return bool((difference <= tolerance * other.abs().max()).all())
