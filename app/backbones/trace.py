"""One forward pass over a made-up input, watched: blocks, norms, and how each reaches the next, by derivatives.

Which modules are blocks is told by the lists that they are in. Everything else is told by derivatives. During the pass,
what enters a block and what leaves a norm is replaced by fresh tensors, so that the derivative of what enters the next
norm, or leaves the block, has one share for each of them:

- none: the one does not reach the other, or only through another norm;
- identity: nothing lies between them but additions, as on the residual stream;
- mixing: a position depends on other positions, so attention (or whatever stands in its place) lies between them;
- map: each position is computed from itself alone, as by a feed-forward network.

No name of a module or class is read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from app.backbones.example_input import example_calls
from app.backbones.one_pass import eval_mode, left_as_it_was, tensors_in, with_tensor
from app.backbones.sites import NormSite

Edge = Literal["identity", "mixing", "map"]


class Blocks:
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
        self.prefixes = [f"{path}." for path in self.paths]

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
class Source:
    """A fresh tensor that is passed on in the place of another."""

    leaf: Tensor
    site: NormSite | None = None  # the norm that it is the output of
    is_foreign: bool = False  # it comes from another stack


@dataclass(eq=False)
class Target:
    """A tensor whose derivatives are taken: what enters a norm or leaves a block."""

    tensor: Tensor
    sources: list[Source]  # what it may depend on
    site: NormSite | None = None  # None for the output of a block
    edges: dict[Source, Edge] = field(default_factory=dict)
    goes_on: bool = False  # whether a later target is this tensor plus something


@dataclass(eq=False)
class ModuleCall:
    """The call of a module in a block that is not a norm."""

    path: str
    inputs: list[Tensor]
    output: Tensor
    number: int  # of targets of the frame before the call ended
    given: Tensor  # the output as it was then: something may be added to it in place


@dataclass(eq=False)
class Frame:
    """The first call of a block."""

    block: str
    sources: list[Source] = field(default_factory=list)  # the stream first
    targets: list[Target] = field(default_factory=list)
    calls: list[ModuleCall] = field(default_factory=list)  # in the order of their ends


@dataclass(eq=False)
class OutsideCall:
    """The first call of a norm outside all blocks."""

    site: NormSite
    target: Target
    outputs: dict[str, Source]  # the latest output of each stack
    stack_before: str | None  # of which the latest block was called
    stack_after: str | None = None  # that is entered next for the first time


class Trace:
    """What is seen of one forward pass.

    Args:
        model: a Hugging Face model, or any other whose input can be made up.
        sites: its norms.
        blocks: its blocks.
        with_calls: also keep the calls of the modules in blocks.
        training: have the blocks in train mode, and the rest, which may skip blocks or mask its input, in eval mode.

    Raises:
        Exception: of any class, if the model refuses its input or what is passed on.
    """

    def __init__(
        self,
        model: nn.Module,
        sites: Sequence[NormSite],
        blocks: Blocks,
        with_calls: bool = False,
        training: bool = False,
    ) -> None:
        self.blocks = blocks
        self.frames: dict[str, Frame] = {}  # by the path of the block, in the order of their calls
        self.runs: Counter[str] = Counter()  # how often each block was called, at most, by one call of the model
        self.outside: list[OutsideCall] = []
        self._open: list[Frame] = []
        self._stack_outputs: dict[str, Source] = {}
        self._entered: list[str] = []
        self._seen: set[NormSite] = set()
        calls = example_calls(model)
        with ExitStack() as stack:
            stack.enter_context(_modes(model, blocks.modules.values() if training else ()))
            stack.enter_context(left_as_it_was(model))
            torch.manual_seed(0)  # of the copy that dropout draws from
            stack.enter_context(_frozen(model))
            stack.enter_context(torch.enable_grad())
            stack.enter_context(self._watching(model, sites, with_calls))
            for module, inputs in calls:
                self._runs: Counter[str] = Counter()
                module(**inputs)
                self.runs |= self._runs
        for frame in self.frames.values():
            for number, target in enumerate(frame.targets):
                target.edges = edges_of(target)
                itself = Source(target.tensor)
                target.goes_on = any(
                    edges_of(Target(later.tensor, [itself])).get(itself) == "identity"
                    for later in frame.targets[number + 1 :]
                    if later.tensor is not target.tensor
                )

    @contextmanager
    def _watching(self, model: nn.Module, sites: Sequence[NormSite], with_calls: bool) -> Iterator[None]:
        """Hook blocks and norms, and perhaps all other modules, in the block."""
        norms = {site.module for site in sites}
        blocks = set(self.blocks.modules.values())
        with ExitStack() as hooks:
            if with_calls:
                for path, module in model.named_modules():
                    if module not in norms and module not in blocks and path.startswith(tuple(self.blocks.prefixes)):
                        handle = module.register_forward_hook(partial(self._leave_module, path), with_kwargs=True)
                        hooks.callback(handle.remove)
            for path, block in self.blocks.modules.items():
                enter = block.register_forward_pre_hook(
                    partial(self._enter_block, path), with_kwargs=True, prepend=True
                )  # before hooks of the model, which may keep what enters
                hooks.callback(enter.remove)
                hooks.callback(block.register_forward_hook(partial(self._leave_block, path)).remove)
            for site in sites:
                hooks.callback(site.module.register_forward_pre_hook(partial(self._enter_norm, site)).remove)
                hooks.callback(site.module.register_forward_hook(partial(self._leave_norm, site)).remove)
            yield

    def _enter_block(self, path: str, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        frame = Frame(path)
        self._open.append(frame)
        self.frames.setdefault(path, frame)
        self._runs[path] += 1
        stack = self.blocks.stack_of[path]
        if stack not in self._entered:
            for call in self.outside:
                call.stack_after = call.stack_after or stack
        self._entered.append(stack)

        def replaced(value: Any) -> Any:
            if not is_hidden(value):
                return value
            is_stream = not frame.sources
            if not is_stream and not (value.requires_grad and value.dim() == frame.sources[0].leaf.dim()):
                return value  # a mask, or positions
            return _cut(value, frame.sources, is_foreign=not is_stream)

        return tuple(map(replaced, args)), {key: replaced(value) for key, value in kwargs.items()}

    def _leave_block(self, path: str, block: nn.Module, args: Any, output: Any) -> Any:
        frame = self._open.pop()
        tensor = next((t for t in tensors_in(output) if t.is_floating_point()), None)
        if tensor is None:
            return output
        frame.targets.append(Target(tensor, list(frame.sources)))
        stack = self.blocks.stack_of[path]
        if path == self.blocks.members(stack)[-1] and not self._open:
            source = Source(fresh(tensor))
            self._stack_outputs[stack] = source
            return with_tensor(output, tensor, source.leaf.clone())
        return output

    def _leave_module(self, path: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        tensor = next((t for t in tensors_in(output) if t.is_floating_point()), None)
        if self._open and tensor is not None:
            inputs = [t for t in tensors_in([args, kwargs]) if t.is_floating_point()]
            frame = self._open[-1]
            frame.calls.append(ModuleCall(path, inputs, tensor, len(frame.targets), tensor.detach().clone()))

    def _enter_norm(self, site: NormSite, norm: nn.Module, args: tuple[Any, ...]) -> None:
        x = next((x for x in args if isinstance(x, Tensor)), None)
        if x is None or site in self._seen:
            return
        if self._open:
            self._open[-1].targets.append(Target(x, list(self._open[-1].sources), site))
        else:
            before = self._entered[-1] if self._entered else None
            self.outside.append(OutsideCall(site, Target(x, []), dict(self._stack_outputs), before))

    def _leave_norm(self, site: NormSite, norm: nn.Module, args: Any, output: Any) -> Any:
        if not isinstance(output, Tensor) or site in self._seen:
            return output
        self._seen.add(site)
        return _cut(output, self._open[-1].sources if self._open else [], site)


def is_hidden(value: Any) -> bool:
    """Return whether an argument of a block can be hidden states; the first such argument is the stream."""
    return isinstance(value, Tensor) and value.is_floating_point() and value.dim() >= 2


def _cut(value: Tensor, sources: list[Source], site: NormSite | None = None, is_foreign: bool = False) -> Tensor:
    source = Source(fresh(value, len(sources)), site, is_foreign)
    sources.append(source)
    return source.leaf.clone()  # a leaf cannot be changed in place, which some models do


def edges_of(target: Target) -> dict[Source, Edge]:
    """Classify how each source reaches one position of a target, by the derivative."""
    edges: dict[Source, Edge] = {}
    weights = made_up((target.tensor.shape[-1],), target.tensor)
    positions = rows_of(target.tensor).shape[0] if target.tensor.numel() else 0
    if not positions:  # of a modality that the input does not have
        return edges
    row = positions * 5 // 8  # neither the first, which may see itself alone, nor the last, alone in a shifted window
    gradients = gradients_of(target.tensor, target.sources, row)
    largest = max((float(gradient.abs().max()) for gradient in gradients if gradient is not None), default=0.0)
    for source, gradient in zip(target.sources, gradients, strict=True):
        if gradient is None:
            continue
        # what two ways cancel, as x + (N(x) - x) does, leaves rounding
        gradient = torch.where(gradient.abs() > 20 * torch.finfo(weights.dtype).eps * largest, gradient, 0)
        if not bool(gradient.count_nonzero()):
            continue
        rows = rows_of(gradient)
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


def gradients_of(tensor: Tensor, sources: Sequence[Source], row: int) -> Sequence[Tensor | None]:
    """Compute the derivatives of a made-up sum over one position (row) of a tensor with respect to each source."""
    if not sources or not tensor.requires_grad:
        return [None] * len(sources)
    value = (rows_of(tensor)[row] * made_up((tensor.shape[-1],), tensor)).sum()
    return torch.autograd.grad(value, [source.leaf for source in sources], retain_graph=True, allow_unused=True)


def fresh(value: Tensor, number: int = 0) -> Tensor:
    """Return a leaf of the shape of a tensor, with irregular values, so that no position equals another.

    Leaves of different numbers have different values.
    """
    return made_up(value.shape, value, number).requires_grad_()


def made_up(shape: Sequence[int], like: Tensor, number: int = 0) -> Tensor:
    """Return irregular values of a shape, in dtype and on the device of another tensor."""
    count = torch.arange(torch.Size(shape).numel(), dtype=torch.float32, device=like.device)
    return (torch.sin(count * 1.7 + number) + torch.sin(count * 0.31 + 1)).reshape(tuple(shape)).to(like.dtype)


def rows_of(tensor: Tensor) -> Tensor:
    """Return a tensor (..., H) as (rows, H)."""
    return tensor.reshape(-1, tensor.shape[-1])


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


@contextmanager
def _modes(model: nn.Module, in_training: Iterable[nn.Module]) -> Iterator[None]:
    """Put the model into eval mode, but some modules into train mode."""
    with eval_mode(model):
        for module in in_training:
            module.train()
        try:
            yield
        finally:
            model.eval()  # eval_mode puts those back that were in train mode
