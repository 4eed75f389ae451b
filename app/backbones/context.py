"""Where each norm of a model stands: its role, block, stack and width, found by watching a forward pass.

Which modules are blocks is told by the lists that they are in. Everything else is told by derivatives. During one
forward pass over a made-up input, what enters a block and what leaves a norm is replaced by fresh tensors, so that the
derivative of what enters the next norm, or leaves the block, has one share for each of them:

- none: the one does not reach the other, or only through another norm;
- identity: nothing lies between them but additions, as on the residual stream;
- mixing: a position depends on other positions, so attention (or whatever stands in its place) lies between them;
- map: each position is computed from itself alone, as by a feed-forward network.

A norm whose input is the stream belongs to the branch that follows (pre-norm), any other to the one before (post-norm,
output norm, sandwich). No name of a module or class is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from app.backbones.example_input import example_calls
from app.backbones.one_pass import eval_mode, tensors_in
from app.backbones.sites import NormSite
from app.norms import NormContext
from app.norms.context import Role, Stack

Edge = Literal["identity", "mixing", "map"]


class Contexts(NamedTuple):
    """The result of `norm_contexts`.

    Attributes:
        by_path: the context of each site.
        fault: why the forward pass failed, if it did; roles, widths and stacks are then unknown.
    """

    by_path: dict[str, NormContext]
    fault: str | None


def norm_contexts(model: nn.Module, sites: Sequence[NormSite]) -> Contexts:
    """Find where each site stands.

    One forward pass over a tiny made-up input in eval mode; weights, modes and random state are as before.

    Args:
        model: a Hugging Face model; of any other module only the blocks are found.
        sites: the norms of the model, as `norm_sites` returns them.
    """
    blocks = _Blocks(model, sites)
    trace = _Trace(blocks)
    fault = None
    try:
        calls = example_calls(model)
        with ExitStack() as contexts:
            for context in (trace.watching(model, sites), eval_mode(model), _frozen(model), torch.enable_grad()):
                contexts.enter_context(context)
            contexts.enter_context(torch.random.fork_rng(devices=[]))
            for module, inputs in calls:
                module(**inputs)
            found = trace.read()
    except Exception as error:  # of any class, because the model may be of any kind
        fault, found = " ".join(f"{type(error).__name__}: {error}".split())[:200], {}
    by_path = {}
    for site in sites:
        layer, layers = blocks.place_of(site)
        by_path[site.path] = found.get(site.path, NormContext(layer=layer, layers=layers))
    return Contexts(by_path, fault)


class _Blocks:
    """The blocks of a model that hold its norms: members of lists of modules.

    A list counts if its members are of one class, the innermost one around a norm if several do (stages of blocks), or
    the outermost list of all (hybrid models, whose layers are of several classes).
    """

    def __init__(self, model: nn.Module, sites: Sequence[NormSite]) -> None:
        self._lists = {path: module for path, module in model.named_modules() if isinstance(module, nn.ModuleList)}
        around = {site.path: self._around(site.path) for site in sites}
        blocks = {path for path in around.values() if path is not None}
        nested = {path for path in blocks if any(other.startswith(f"{path}.") for other in blocks)}
        self._of_site = {site: path for site, path in around.items() if path not in nested}
        lists = {path.rpartition(".")[0] for path in blocks - nested}
        self.stack_of: dict[str, str] = {}  # of each block, in the order of the model
        for path in lists:
            outermost = next(name for name in self._lists if f"{path}.".startswith(f"{name}."))
            for number in range(len(self._lists[path])):
                self.stack_of[f"{path}.{number}"] = outermost
        order = {path: number for number, (path, _) in enumerate(model.named_modules(remove_duplicate=False))}
        self.paths = sorted(self.stack_of, key=lambda path: order[path])
        self.modules = {path: model.get_submodule(path) for path in self.paths}

    def _around(self, path: str) -> str | None:
        """The path of the block around a norm."""
        found = []
        for match in re.finditer(r"\.(?=\d+\.)", path):
            name = path[: match.start()]
            if name in self._lists:
                found.append((name, path[match.start() + 1 :].partition(".")[0]))
        uniform = [entry for entry in found if len({type(member) for member in self._lists[entry[0]]}) == 1]
        chosen = uniform[-1:] or found[:1]
        return ".".join(chosen[0]) if chosen else None

    def of(self, site: NormSite) -> str | None:
        """The path of the block that a site is in."""
        return self._of_site.get(site.path)

    def members(self, stack: str) -> list[str]:
        """The paths of a stack's blocks in order."""
        return [path for path in self.paths if self.stack_of[path] == stack]

    def place_of(self, site: NormSite) -> tuple[int | None, int | None]:
        """The number of a site's block from 1, and the number of blocks in its stack."""
        block = self.of(site)
        if block is None:
            return None, None
        members = self.members(self.stack_of[block])
        return members.index(block) + 1, len(members)


@dataclass(eq=False)
class _Source:
    """A fresh tensor that is passed on in the place of another."""

    leaf: Tensor
    site: NormSite | None = None  # the norm that it is the output of
    is_foreign: bool = False  # it comes from another stack


@dataclass(eq=False)
class _Target:
    """A tensor whose derivatives are taken: what enters a norm or leaves a block."""

    tensor: Tensor
    sources: list[_Source]
    site: NormSite | None = None
    edges: dict[_Source, Edge] = field(default_factory=dict)


@dataclass(eq=False)
class _Frame:
    """The first call of a block, or what happens outside all blocks."""

    block: str | None
    sources: list[_Source] = field(default_factory=list)
    targets: list[_Target] = field(default_factory=list)


class _Trace:
    """What hooks see of one forward pass."""

    def __init__(self, blocks: _Blocks) -> None:
        self._blocks = blocks
        self._frames: dict[str, _Frame] = {}
        self._open: list[_Frame] = []
        self._outside = _Frame(None)
        self._stack_outputs: dict[str, _Source] = {}  # of the latest call of each stack's last block
        self._outside_calls: list[tuple[NormSite, _Target, dict[str, _Source]]] = []
        self._order: list[tuple[str, str]] = []  # ("norm", path) outside the blocks, and ("stack", path)
        self._seen: set[int] = set()

    @contextmanager
    def watching(self, model: nn.Module, sites: Sequence[NormSite]) -> Iterator[None]:
        """Hook blocks and norms in the block."""
        with ExitStack() as hooks:
            for path, block in self._blocks.modules.items():
                enter = block.register_forward_pre_hook(
                    lambda module, args, kwargs, path=path: self._enter_block(path, args, kwargs), with_kwargs=True
                )
                leave = block.register_forward_hook(
                    lambda module, args, output, path=path: self._leave_block(path, output), always_call=False
                )
                hooks.callback(enter.remove)
                hooks.callback(leave.remove)
            for site in sites:
                enter = site.module.register_forward_pre_hook(
                    lambda module, args, site=site: self._enter_norm(site, args)
                )
                leave = site.module.register_forward_hook(
                    lambda module, args, output, site=site: self._leave_norm(site, output)
                )
                hooks.callback(enter.remove)
                hooks.callback(leave.remove)
            yield

    def _enter_block(self, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        frame = _Frame(path)
        self._open.append(frame)
        stack = self._blocks.stack_of[path]
        if ("stack", stack) not in self._order:
            self._order.append(("stack", stack))
        if path not in self._frames:
            self._frames[path] = frame

        def replaced(value: Any) -> Any:
            if not isinstance(value, Tensor) or not value.is_floating_point() or value.dim() < 2:
                return value
            is_stream = not frame.sources
            if not is_stream and not (value.requires_grad and value.dim() == frame.sources[0].leaf.dim()):
                return value  # a mask, or positions
            return self._cut(value, frame, is_foreign=not is_stream)

        return tuple(map(replaced, args)), {key: replaced(value) for key, value in kwargs.items()}

    def _leave_block(self, path: str, output: Any) -> Any:
        frame = self._open.pop()
        tensor = next((t for t in tensors_in(output) if t.is_floating_point()), None)
        if tensor is None:
            return output
        frame.targets.append(_Target(tensor, list(frame.sources)))
        stack = self._blocks.stack_of[path]
        if path == self._blocks.members(stack)[-1] and not self._open:
            source = _Source(_fresh(tensor))
            self._stack_outputs[stack] = source
            return _with(output, tensor, source.leaf.clone())
        return output

    def _enter_norm(self, site: NormSite, args: tuple[Any, ...]) -> None:
        x = next((x for x in args if isinstance(x, Tensor)), None)
        if x is None or id(site) in self._seen:
            return
        if self._open:
            self._open[-1].targets.append(_Target(x, list(self._open[-1].sources), site))
        else:
            self._order.append(("norm", site.path))
            self._outside_calls.append((site, _Target(x, []), dict(self._stack_outputs)))

    def _leave_norm(self, site: NormSite, output: Any) -> Any:
        if not isinstance(output, Tensor) or id(site) in self._seen:
            return output
        self._seen.add(id(site))
        return self._cut(output, self._open[-1] if self._open else self._outside, site)

    @staticmethod
    def _cut(value: Tensor, frame: _Frame, site: NormSite | None = None, is_foreign: bool = False) -> Tensor:
        source = _Source(_fresh(value), site, is_foreign)
        frame.sources.append(source)
        return source.leaf.clone()  # a leaf cannot be changed in place, which some models do

    def read(self) -> dict[str, NormContext]:
        """Return the context of each norm that was called."""
        contexts: dict[str, NormContext] = {}
        stack_kinds: dict[str, Stack] = {}
        for frame in self._frames.values():
            assert frame.block is not None
            for target in frame.targets:
                target.edges = _edges(target)
            name = self._blocks.stack_of[frame.block]
            if name not in stack_kinds and (kind := _stack_kind(frame)):
                stack_kinds[name] = kind
        for frame in self._frames.values():
            assert frame.block is not None
            kind_of_stack = stack_kinds.get(self._blocks.stack_of[frame.block])
            for site, role in _roles(frame).items():
                layer, layers = self._blocks.place_of(site)
                stream = frame.sources[0].leaf if frame.sources else None  # (B, T, H), or (B, C, H, W)
                width = _size(site) if stream is None or stream.dim() > 3 else stream.shape[-1]
                contexts[site.path] = NormContext(role, layer, layers, width, kind_of_stack)
        for site, target, outputs in self._outside_calls:
            final_of = next((stack for stack, source in outputs.items() if _is_final(target, source)), None)
            position = self._order.index(("norm", site.path))
            stack_before = next((name for kind, name in reversed(self._order[:position]) if kind == "stack"), None)
            stack_after = next((name for kind, name in self._order[position:] if kind == "stack"), None)
            at = final_of or stack_after or stack_before
            of_outside: Role = "final" if final_of is not None else "embedding" if stack_after is not None else "other"
            layers = None if at is None else len(self._blocks.members(at))
            stack = None if at is None else stack_kinds.get(at)
            contexts[site.path] = NormContext(of_outside, None, layers, _size(site), stack)
        return contexts


def _roles(frame: _Frame) -> dict[NormSite, Role]:
    """The role of each norm that was called in a block."""
    into = {target.site: target for target in frame.targets if target.site is not None}
    outputs = {source.site: source for source in frame.sources if source.site is not None}
    first_foreign = next((t for t in frame.targets if any(source.is_foreign for source in t.edges)), None)
    qk = {site for site in into if site in outputs and _is_qk(outputs[site], into[site], frame.targets)}

    def branch(target: _Target, source: _Source) -> Role | None:
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
        elif output is not None and _reads_stream(target, output, reached):
            following = [branch(other, output) for other in reached]
            roles[site] = next((role for role in following if role), "other")
        else:
            before = {branch(target, source) for source in target.edges}
            ranked: tuple[Role, ...] = ("attention", "cross_attention", "ffn")
            roles[site] = next((role for role in ranked if role in before), "other")
    return roles


def _reads_stream(target: _Target, output: _Source, reached: Sequence[_Target]) -> bool:
    """Whether what a norm gets goes on around it, and what it gives goes into a branch alone."""
    if "identity" in target.edges.values():
        return True
    goes_around = any(source in other.edges for other in reached for source in target.edges)
    is_added = any(other.edges[output] == "identity" for other in reached)
    return goes_around and not is_added  # as where no norm stands before the first branch of a block


def _is_qk(output: _Source, target: _Target, targets: Sequence[_Target]) -> bool:
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


def _stack_kind(frame: _Frame) -> Stack | None:
    """Whether the first position of a block that mixes sees later ones."""
    for target in frame.targets:
        for source, edge in target.edges.items():
            if edge == "mixing" and not source.is_foreign:
                gradient = _gradients(target.tensor, [source], row=0)[0]
                if gradient is not None:
                    return "encoder" if bool(_rows(gradient)[1:].count_nonzero()) else "decoder"
    return None


def _edges(target: _Target) -> dict[_Source, Edge]:
    """Classify how each source reaches one position of a target, by the derivative."""
    edges: dict[_Source, Edge] = {}
    weights = _made_up((target.tensor.shape[-1],), target.tensor)
    positions = _rows(target.tensor).shape[0]
    row = positions * 5 // 8  # neither the first, which may see itself alone, nor the last, alone in a shifted window
    for source, gradient in zip(target.sources, _gradients(target.tensor, target.sources, row), strict=True):
        if gradient is None or not bool(gradient.count_nonzero()):
            continue
        rows = _rows(gradient)
        of_one_position = max(1, rows.shape[0] // positions)  # a row, or one for each head
        if int(rows.count_nonzero(dim=1).count_nonzero()) > of_one_position:
            edges[source] = "mixing"
        elif rows.shape == (positions, len(weights)) and torch.allclose(
            rows[row], weights, rtol=0, atol=100 * torch.finfo(weights.dtype).eps
        ):
            edges[source] = "identity"
        else:
            edges[source] = "map"
    return edges


def _is_final(target: _Target, output: _Source) -> bool:
    """Whether a norm gets the output of a stack, or positions of it, or their mean, and nothing computed from it."""
    width = target.tensor.shape[-1]
    (gradient,) = _gradients(target.tensor, [output], row=-1)
    if gradient is None or width not in gradient.shape:
        return False
    channels = gradient.dim() - 1 if gradient.shape[-1] == width else gradient.shape.index(width)
    if channels != gradient.dim() - 1 and len(_rows(target.tensor)) > 1:
        return False  # between convolutions, which have channels first, and the layers of a transformer
    rows = _rows(gradient.movedim(channels, -1))
    weights = _made_up((width,), target.tensor)
    shares = (rows @ weights) / weights.square().sum()  # (R,): how much of each position there is
    tolerance = 100 * torch.finfo(weights.dtype).eps * float(shares.abs().max())
    return tolerance > 0 and torch.allclose(rows, shares.unsqueeze(-1) * weights, rtol=0, atol=tolerance)


def _gradients(tensor: Tensor, sources: Sequence[_Source], row: int) -> Sequence[Tensor | None]:
    """The derivatives of a made-up sum over one position (row) of a tensor with respect to each source."""
    if not sources or not tensor.requires_grad:
        return [None] * len(sources)
    value = (_rows(tensor)[row] * _made_up((tensor.shape[-1],), tensor)).sum()
    return torch.autograd.grad(value, [source.leaf for source in sources], retain_graph=True, allow_unused=True)


def _fresh(value: Tensor) -> Tensor:
    """A leaf of the shape of a tensor, with irregular values: no position equals another, and nothing is zero."""
    return _made_up(value.shape, value).requires_grad_()


def _made_up(shape: Sequence[int], like: Tensor) -> Tensor:
    count = torch.arange(torch.Size(shape).numel(), dtype=torch.float32, device=like.device)
    return (torch.sin(count * 1.7) + torch.sin(count * 0.31 + 1)).reshape(tuple(shape)).to(like.dtype)


def _rows(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1, tensor.shape[-1])


def _size(site: NormSite) -> int:
    return torch.Size(site.shape).numel()


def _with(output: Any, old: Tensor, new: Tensor) -> Any:
    """The output of a module with one tensor in the place of another."""
    if output is old:
        return new
    if isinstance(output, dict):  # and ModelOutput
        for key, value in output.items():
            output[key] = _with(value, old, new)
        return output
    if isinstance(output, (tuple, list)):
        return type(output)(_with(value, old, new) for value in output)
    return output


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Let no parameter require a gradient: what requires one then comes from the stream."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
