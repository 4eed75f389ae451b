"""Put the norms of a built model where a placement says, before `inject_norms` decides which norms they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any

import torch
from torch import nn

from app.backbones.placement.hooks import (
    SharedInput,
    Slot,
    Stream,
    forget_at_end,
    keep_input,
    norm_end,
    norm_inputs,
    norm_output,
    norm_sum,
    scale_output,
)
from app.backbones.placement.layout import BranchInfo, Layout, layout_rule
from app.backbones.placement.parts import Block, Branch, Parts, parts_from, parts_of, plain_parts
from app.backbones.placement.spec import PlacementSpec
from app.backbones.sites import NormSite, offer_what_models_read
from app.errors import InputError
from app.norms import Norm, NormError, build_norm

_POSITIONS = ("pre", "post", "out")


def place_norms(
    model: nn.Module,
    placement: PlacementSpec | str,
    initialize: bool = True,
    found: Mapping[str, Any] | None = None,
    **options: Any,
) -> PlacementSpec:
    """Put the norms of `model` where the placement says, in place, before `inject_norms`.

    The model's own norms are used where they can be, in their place or moved with their weights; the others are of the
    model's own kind, with a gain of 1. Weights outside norms and the random state do not change, except that deepnorm
    scales initial weights. The model is marked with the spec, which `placement_of` reads; it is also written to
    `model.config.placement`, so that what `save_pretrained` writes, which cannot be loaded, is told from other models.

    Args:
        model: a Hugging Face model with its own norms.
        placement: a registered name, or a complete spec.
        initialize: scale initial weights where the placement does; False for weights that have been trained.
        found: what `placed_parts` says of an equal model that is placed; None to find the parts by a watched pass.
        options: the placement's own options.

    Returns:
        The spec.

    Raises:
        InputError: for an unknown placement or option, and for a model in which the parts that the placement needs
            cannot be found, or in which it would not be exact. The model is then unchanged.
    """
    try:
        spec = PlacementSpec(placement, options) if isinstance(placement, str) else placement
    except NormError as error:
        raise InputError(str(error)) from error
    if spec.is_native:
        return spec
    config: Any = getattr(model, "config", None)
    if not (present := placement_of(model)).is_native:
        raise InputError(f"{type(model).__name__} has placement {present} already; build it anew")
    if found is None:
        parts = parts_of(model)
    else:
        try:
            parts = parts_from(dict(found), model)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"the parts that placement {spec} was given do not fit {type(model).__name__} ({error!r}); "
                "save the model again"
            ) from error
    plain = plain_parts(parts)  # before any norm is moved
    layouts = checked_layouts(model, parts, spec)
    for block, of_block in zip(parts.blocks, layouts, strict=True):
        _BlockPlacing(model, parts, block).place(of_block, initialize)
    if config is not None:
        config.placement = spec.to_dict()
    root = _innermost([*parts.ends, *(site.path for site in parts.finals.values())])
    owner: Any = model.get_submodule(root)
    owner.norm_placement = _Mark(spec, _renamed(plain, lambda path: path[len(root) :].removeprefix(".")))
    return spec


@dataclass(frozen=True)
class _Mark:
    """What `place_norms` leaves on the innermost module that holds all that it placed, so that it is of every model
    around that one: the spec, and the parts as `plain_parts` gives them, with paths in this module.
    """

    spec: PlacementSpec
    parts: dict[str, Any]


def placement_of(model: nn.Module) -> PlacementSpec:
    """Return the placement that `place_norms` has given to a model; native where it has not."""
    return next((mark.spec for _, mark in _marks(model)), PlacementSpec())


def placed_parts(model: nn.Module) -> dict[str, Any] | None:
    """Return the parts in which `place_norms` has placed norms, in plain types, for `place_norms` of an equal model."""
    for at, mark in _marks(model):
        return _renamed(mark.parts, partial(_joined, at))
    return None


def _joined(root: str, path: str) -> str:
    return ".".join(filter(None, (root, path)))


def _marks(model: nn.Module) -> Iterator[tuple[str, _Mark]]:
    for path, module in model.named_modules():
        if (mark := vars(module).get("norm_placement")) is not None:
            yield path, mark


def _innermost(paths: Sequence[str]) -> str:
    """Return the path of the innermost module that is or holds all these."""
    together = zip(*(path.split(".") for path in paths), strict=False)
    return ".".join(names[0] for names in takewhile(lambda names: len(set(names)) == 1, together))


def _renamed(plain: Any, rename: Callable[[str], str]) -> Any:
    """Rename every module path in what `plain_parts` gives."""
    if isinstance(plain, dict):
        return {key: value if key == "kind" else _renamed(value, rename) for key, value in plain.items()}
    if isinstance(plain, (list, tuple)):
        return [_renamed(value, rename) for value in plain]
    return rename(plain) if isinstance(plain, str) else plain


def checked_layouts(model: nn.Module, parts: Parts, spec: PlacementSpec) -> list[list[Layout]]:
    """Return the layouts of the branches of each block.

    Raises:
        InputError: if the model cannot have one of them, or the placement cannot take an option.
    """
    layouts = [layouts_of(block, parts, spec) for block in parts.blocks]
    for block, of_block in zip(parts.blocks, layouts, strict=True):
        if not any(branch.norms for branch in block.branches):
            raise InputError(
                f"--placement {spec.name}: {block.path} has no norm before or after a branch that could be moved; use "
                "--placement native, or another model type"
            )
        for branch, layout in zip(block.branches, of_block, strict=True):
            _check(block, branch, layout, spec)
            if layout.queries_and_keys == "head" and branch.kind == "attention":
                head_width(model, branch.projections["q"])
        wants = any(layout.queries_and_keys != "none" for layout in of_block)
        if wants and all(branch.kind != "attention" for branch in block.branches):
            raise InputError(
                f"--placement {spec.name}: {block.path} has no self-attention of its own, whose queries and keys could "
                "have norms; use --placement native, or another model type"
            )
    return layouts


def layouts_of(block: Block, parts: Parts, spec: PlacementSpec) -> list[Layout]:
    """Return the layout of each branch of a block.

    Raises:
        InputError: for an option that the placement cannot take.
    """
    layers = {other.stack: other.layers for other in parts.blocks}
    kinds = {other.stack: other.kind for other in parts.blocks}
    is_pair = len(layers) == 2 and set(kinds.values()) == {"encoder", "decoder"}
    other_layers = next((n for stack, n in layers.items() if stack != block.stack), None) if is_pair else None
    layouts = []
    for branch in block.branches:
        native = native_layout(branch, block, parts)
        is_last = branch is block.branches[-1]
        info = BranchInfo(branch.kind, block.layer, block.layers, block.kind, is_last, native, other_layers)
        try:
            layouts.append(layout_rule(spec.name)(info, **spec.options))
        except ValueError as error:
            raise InputError(f"--placement {spec.name}: {error}") from error
    return layouts


def native_layout(branch: Branch, block: Block, parts: Parts) -> Layout:
    """Return where the model's own norms stand, those of queries and keys not counted."""
    own = branch.norms
    return Layout(pre="pre" in own, out="out" in own, post="post" in own, end=block.stack in parts.finals)


def _check(block: Block, branch: Branch, layout: Layout, spec: PlacementSpec) -> None:
    """Refuse what a branch cannot have."""
    where, own = f"--placement {spec.name}: the {branch.kind} branch of {block.path}", branch.norms
    remedy = "use --placement native, or another model type"
    if any(site.kind == "app.norms" or site.aliases for site in own.values()):
        raise InputError(f"{where} has a norm that is shared or not the model's own; {remedy}")
    if block.runs > 1:
        raise InputError(f"{where} runs {block.runs} times in a forward pass, as layers that are shared do; {remedy}")
    if layout.pre and "pre" not in own and not branch.entries:
        raise InputError(f"{where} reads the stream in no module of its own, where a norm could stand; {remedy}")
    alone = f"{where} is not added to the stream by itself, as where branches are parallel, scaled by the block, or 0"
    if (layout.out and "out" not in own or layout.branch_scale is not None) and branch.last is None:
        raise InputError(f"{alone}; {remedy}")
    if layout.post and "post" not in own:
        if branch.end is None:
            raise InputError(f"{alone}; {remedy}")
        if not branch.is_exact_in_training:
            raise InputError(
                f"{where} is followed by dropout outside of any module, so that N(x + dropout(F(x))) is out of reach; "
                "set dropout to 0, or use a model type whose own norms stand after the sum, such as bart for mbart"
            )
    if layout.queries_and_keys != "none" and branch.kind == "attention" and not branch.projections:
        raise InputError(
            f"{where} cannot have norms of queries and keys: it has no projections of its own for queries, keys and "
            f"values, or norms on them already; {remedy}"
        )
    if layout.init_factor != 1 and (block.others or not scaled_matrices(branch)):
        raise InputError(
            f"{where} cannot have scaled initial weights: its matrices are not all modules of their own, as where "
            f"queries, keys and values are one, or experts are; {remedy}"
        )


def scaled_matrices(branch: Branch) -> list[str]:
    """Return the modules whose initial weights a placement scales: values, output and feed-forward layers.

    Empty where they cannot be told.
    """
    if branch.kind == "ffn":
        return branch.linears
    found = [path for path in (branch.projections.get("v"), branch.last) if path in branch.linears]
    return found if len(found) == 2 else []


def output_width(model: nn.Module, path: str) -> int:
    """Return how many features a matrix gives."""
    module = model.get_submodule(path)
    weight = module.get_parameter("weight")
    return weight.shape[0] if isinstance(module, nn.Linear) else weight.shape[1]  # Conv1D is transposed


def head_width(model: nn.Module, path: str) -> int:
    """Return the width of a head, as the modules around a projection or their configs have it.

    Raises:
        InputError: if none has.
    """
    names = path.split(".")
    around = [model.get_submodule(".".join(names[:n])) for n in range(len(names) - 1, -1, -1)]
    for owner in [*around, *(config for module in around if (config := getattr(module, "config", None)) is not None)]:
        for name in ("head_dim", "attention_head_size", "key_value_proj_dim", "d_kv"):
            if isinstance(width := getattr(owner, name, None), int):
                return width
        if isinstance(heads := getattr(owner, "num_attention_heads", None), int):
            return output_width(model, path) // heads
    raise InputError(f"how many heads {path.rpartition('.')[0]} has cannot be told; use norms over the whole width")


class _BlockPlacing:
    """Puts the norms of one block where its layouts say."""

    def __init__(self, model: nn.Module, parts: Parts, block: Block) -> None:
        self.model, self.parts, self.block = model, parts, block
        self.streams: dict[int, Stream] = {}
        self.shared: list[SharedInput] = []
        self.slots: dict[str, Slot] = {}
        norms = [site for branch in block.branches for site in branch.norms.values()]
        self.template = max(norms, key=lambda site: torch.Size(site.shape).numel())

    def place(self, layouts: list[Layout], initialize: bool) -> None:
        """Place all norms of the block, and those at the end of its stack."""
        for number, (branch, layout) in enumerate(zip(self.block.branches, layouts, strict=True)):
            self._place(number, branch, layout)
            if initialize and layout.init_factor != 1:
                self._scale_weights(branch, layout.init_factor)
        if kept := [*self.streams.values(), *self.shared]:
            forget_at_end(self.model.get_submodule(self.block.path), kept)
        if self.block.path == self.parts.ends[self.block.stack]:
            final = self.parts.finals.get(self.block.stack)
            if final is not None and not layouts[-1].end:
                _set(self.model, final.path, nn.Identity())
            elif final is None and layouts[-1].end:
                norm_end(self.model.get_submodule(self.block.path), self._fresh(self.template.shape))

    def _place(self, number: int, branch: Branch, layout: Layout) -> None:
        wanted = {"pre": layout.pre, "post": layout.post, "out": layout.out}
        spare: list[nn.Module] = []
        for position in _POSITIONS:
            site = branch.norms.get(position)  # type: ignore[call-overload]
            if site is not None and not wanted[position]:
                spare.append(site.module)
                _set(self.model, site.path, nn.Identity())

        def norm() -> nn.Module:
            return spare.pop(0) if spare else self._fresh(self.template.shape)

        if layout.pre:
            if "pre" not in branch.norms:
                moved = norm()
                factor = layout.norm_factor
                entries = [self.model.get_submodule(path) for path in branch.entries]
                self.shared.append(norm_inputs(entries, moved if factor == 1 else Slot(moved, norm_factor=factor)))
            elif layout.norm_factor != 1:
                self._slot(branch.norms["pre"]).norm_factor = layout.norm_factor
        if layout.post:
            shortcut = self._stream(0) if layout.from_block_input else None
            if "post" not in branch.norms:
                assert branch.end is not None, "checked"
                end = self.model.get_submodule(branch.end)
                norm_sum(end, norm(), self._stream(number), layout.residual_factor, shortcut)
            elif layout.residual_factor != 1 or shortcut is not None:
                slot = self._slot(branch.norms["post"])
                slot.residual, slot.residual_factor = self._stream(number), layout.residual_factor
                slot.shortcut = shortcut
        if branch.last is not None:
            last = self.model.get_submodule(branch.last)
            if layout.out and "out" not in branch.norms:
                norm_output(last, norm())
            if layout.branch_scale is not None:
                shape = self.template.shape if layout.scale_is_vector else (1,)
                like = next(self.model.get_submodule(self.block.path).parameters())
                scale_output(last, torch.full(shape, layout.branch_scale, dtype=like.dtype, device=like.device))
        if branch.kind == "attention" and layout.queries_and_keys != "none":
            for name in ("q", "k", "v") if layout.values else ("q", "k"):
                projection = self.model.get_submodule(branch.projections[name])
                width = self._width(branch.projections[name], layout.queries_and_keys)
                norm_output(projection, self._fresh((width,)), width if layout.queries_and_keys == "head" else None)

    def _stream(self, number: int) -> Stream:
        """Have the stream before a branch kept, and return where."""
        if number not in self.streams:
            stream = self.streams[number] = Stream()
            own, before = self.block.branches[number], self.block.branches[number - 1]
            if number == 0:
                keep_input(self.model.get_submodule(self.block.path), stream)
            elif "pre" in own.norms:
                self._slot(own.norms["pre"]).keeps = stream
            elif "post" in before.norms:
                self._slot(before.norms["post"]).gives = stream
            else:
                keep_input(self.model.get_submodule(own.entries[0]), stream)
        return self.streams[number]

    def _slot(self, site: NormSite) -> Slot:
        """The slot in the place of a norm of the model, which it holds unless that has been moved."""
        if site.path not in self.slots:
            held = self.model.get_submodule(site.path)
            slot = self.slots[site.path] = Slot(None if isinstance(held, nn.Identity) else held)
            _set(self.model, site.path, slot)
        return self.slots[site.path]

    def _fresh(self, shape: tuple[int, ...]) -> Norm:
        """A norm of the model's own kind, with a gain of 1, on its device and in its dtype."""
        own = dict(self.template.module.named_parameters(recurse=False))
        name: str = self.template.kind
        if "weight" not in own:
            name = {"layernorm": "layernorm_simple", "rmsnorm": "simple_rmsnorm"}[name]
        elif name == "layernorm" and "bias" not in own:
            name = "layernorm_gain"
        norm = build_norm(name, shape, self.template.eps)
        like = next(self.model.get_submodule(self.block.path).parameters())
        return norm.to(like.device, like.dtype).train(self.template.module.training)

    def _width(self, path: str, over: str) -> int:
        """The width of a query's or key's norm: all that a projection gives, or one head's share."""
        return output_width(self.model, path) if over == "width" else head_width(self.model, path)

    def _scale_weights(self, branch: Branch, factor: float) -> None:
        with torch.no_grad():
            for path in scaled_matrices(branch):
                self.model.get_submodule(path).get_parameter("weight").mul_(factor)


def _set(model: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module in the place of a norm."""
    parent, _, name = path.rpartition(".")
    offer_what_models_read(module, model.get_submodule(path))
    setattr(model.get_submodule(parent), name, module)
