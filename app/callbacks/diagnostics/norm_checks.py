"""Whether each norm of a model, its parameters and its options do anything, for `app.study inspect`.

A norm that is built and never called, one whose output is multiplied by zero, a parameter or an option that nothing
reads: none of them is an error, and a run trains as if nothing were wrong. So each is changed, and the change has to
show.

All is measured on a few examples in eval mode, with small random values in the place of trainable parameters that are
all zero: a head or gate that starts at zero hides from the first update what is before it, but not from later ones.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from app.norms import Norm, norm_class
from app.norms.base import option_signature

_STRENGTHS = (0.1, 1e4)  # of a change, in rms of the output; the second one where a gate of 1e-6 hides the first
_MOST_ROWS = 128  # of a norm's input, to compare norms on
_MOST_VALUES = 3  # of an option that are tried before it is said to do nothing


@dataclass
class NormCheck:
    """What was found of one norm.

    Attributes:
        path: module path in the model.
        is_called: whether a forward pass reaches it.
        moves_loss: whether the loss changes with its output; None where that could not be tried.
        parameters: its trainable parameters.
        without_gradient: those of them that get no gradient, or one of zeros.
        frozen: its other parameters.
        options: what was tried in the place of each option's value.
        ignored: options with which the norm computes the same, forward and backward, whatever their value.
        untested: options for which no other value was found.
        is_models_own: whether it computes what the norm that it replaces computes, with the same parameters.
    """

    path: str
    is_called: bool = False
    moves_loss: bool | None = None
    parameters: list[str] = field(default_factory=list)
    without_gradient: list[str] = field(default_factory=list)
    frozen: list[str] = field(default_factory=list)
    options: dict[str, list[Any]] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    untested: list[str] = field(default_factory=list)
    is_models_own: bool = False


def check_norms(
    task: nn.Module,
    norms: Mapping[str, nn.Module],
    batch: Any,
    context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    *,
    called: Set[str] = frozenset(),
    with_gradient: Set[int] = frozenset(),
    old_kinds: Mapping[str, str] | None = None,
) -> list[NormCheck]:
    """Change each norm's output, its options and its parameters, and look what follows; the task is left as it was.

    Args:
        task: has `train_loss(batch)`.
        norms: by their paths.
        batch: a few training examples; each norm costs one forward pass over them.
        context: that forward passes run in, such as autocast.
        called: paths that a training batch is known to reach.
        with_gradient: ids of the parameters that are known to get a gradient from it.
        old_kinds: layernorm or rmsnorm, for those that replace such a norm of the same parameters.
    """
    inputs: dict[str, Tensor | None] = {}
    with _tried_out(task):
        losses = _losses(task, batch, context)
        handles = [norm.register_forward_hook(_keep_rows(path, inputs)) for path, norm in norms.items()]
        try:
            objective = losses()
        finally:
            for handle in handles:
                handle.remove()
        trained = [p for norm in norms.values() for p in norm.parameters() if p.requires_grad]
        reached = set(with_gradient)
        if trained and objective.requires_grad:
            gradients = torch.autograd.grad(objective, trained, allow_unused=True)
            reached |= {id(p) for p, g in zip(trained, gradients, strict=True) if g is not None and g.any()}
        checks = []
        with torch.no_grad():
            before = float(objective)
            noise = abs(float(losses()) - before)  # of kernels that are not deterministic
            for path, norm in norms.items():
                check = NormCheck(path, is_called=path in inputs or path in called)
                if path in inputs and math.isfinite(before) and math.isfinite(noise):
                    check.moves_loss = any(
                        not abs(_changed(norm, strength, losses) - before) <= 2 * noise for strength in _STRENGTHS
                    )
                checks.append(check)
    for check, norm in zip(checks, norms.values(), strict=True):
        for name, parameter in norm.named_parameters():
            if not parameter.requires_grad:
                check.frozen.append(name)
                continue
            check.parameters.append(name)
            if id(parameter) not in reached:
                check.without_gradient.append(name)
        rows = inputs.get(check.path)
        if isinstance(norm, Norm) and rows is not None:
            _try_options(norm, rows, check)
            kind = (old_kinds or {}).get(check.path)
            check.is_models_own = kind is not None and _computes_the_same(norm, norm_class(kind), rows)
    return checks


@contextmanager
def _tried_out(task: nn.Module) -> Iterator[None]:
    """Eval mode, and no trainable parameter that is all zero; at the end everything is as before."""
    training = [module for module in task.modules() if module.training]
    zeros = {p: p.detach().clone() for p in task.parameters() if p.requires_grad and not p.any()}
    task.eval()
    try:
        for number, parameter in enumerate(zeros):
            _fill(parameter, number)
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zeros.items():
                parameter.copy_(value)
        for module in training:
            module.training = True


@torch.no_grad()
def _fill(parameter: Tensor, seed: int) -> None:
    parameter.copy_(0.02 * _noise(parameter, seed))


def _noise(like: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(like.shape, generator=generator).to(like.device, like.dtype)


def _losses(task: Any, batch: Any, context: Callable[[], AbstractContextManager[Any]]) -> Callable[[], Tensor]:
    """A function that computes the loss with the same random numbers at each call, and draws none."""
    device = next(task.parameters()).device
    devices = [device] if device.type == "cuda" else []

    def compute() -> Tensor:
        with torch.random.fork_rng(devices=devices), context():
            torch.manual_seed(0)
            objective: Tensor = task.train_loss(batch).objective
            return objective

    return compute


def _keep_rows(path: str, inputs: dict[str, Tensor | None]) -> Callable[..., None]:
    """A hook that keeps the first rows of one of our norms' inputs, (N, *normalized_shape), None of any other norm's.

    They are in float64 and on the CPU, so that no difference between norms is rounding.
    """

    def keep(norm: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        if path in inputs:  # a norm that is used at several places: the first of them
            return
        inputs[path] = None
        if isinstance(norm, Norm) and given:
            rows = norm.features_last(given[0]).detach().reshape(-1, *norm.normalized_shape)
            inputs[path] = rows[:_MOST_ROWS].cpu().double()

    return keep


def _changed(norm: nn.Module, strength: float, losses: Callable[[], Tensor]) -> float:
    """The loss with noise on a norm's output."""

    def change(tensor: Any) -> Any:
        if isinstance(tensor, (tuple, list)):
            return type(tensor)(map(change, tensor))
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            return tensor
        rms = tensor.float().square().mean().sqrt()
        return tensor + (strength * torch.where(rms > 0, rms, 1)).to(tensor.dtype) * _noise(tensor, 0)

    handle = norm.register_forward_hook(lambda module, given, output: change(output))
    try:
        return float(losses())
    finally:
        handle.remove()


def _try_options(norm: Norm, rows: Tensor, check: NormCheck) -> None:
    cls, sizes = type(norm), (norm.normalized_shape, norm.eps)
    options = {name: getattr(norm, name) for name in option_signature(cls)}
    present = _passes(_built(cls, sizes, options), rows) if options else {}
    for name in options:
        acts, tried = False, []
        for other in _other_values(cls, sizes, options, name):
            try:
                changed = _built(cls, sizes, {**options, name: other})
            except ValueError:  # the norm does not take this value
                continue
            tried.append(other)
            acts = _differ(present, _passes(changed, rows))
            if acts or len(tried) == _MOST_VALUES:
                break
        if tried:
            check.options[name] = tried
            check.ignored += [] if acts else [name]
        else:
            check.untested.append(name)


def _other_values(cls: type[Norm], sizes: Any, options: Mapping[str, Any], name: str) -> list[Any]:
    """Values to try in the place of an option's; the norm may refuse some."""
    value = options[name]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [other for other in dict.fromkeys((2 * value, value + 1, value // 2, value - 1)) if other != value]
    if isinstance(value, float):
        return [other for other in dict.fromkeys((2 * value, value / 2, value + 1, 1 - value)) if other != value]
    try:
        _built(cls, sizes, {**options, name: "?"})
    except ValueError as error:  # which names what is allowed
        return [word for word in re.findall(r"\w+", str(error)) if word != value]
    return []


def _built(cls: type[Norm], sizes: Any, options: Mapping[str, Any]) -> Norm:
    """A norm of a class as it starts, except that no parameter is all zero."""
    cls.check_options(**options)
    norm = cls(*sizes, **options)
    for number, (_, parameter) in enumerate(sorted(norm.named_parameters())):
        if not parameter.any():
            _fill(parameter, number)
    return norm


def _passes(norm: Norm, rows: Tensor) -> dict[str, Tensor | None]:
    """Output, gradient at the input and gradients of the parameters, of one pass of a norm in float64."""
    norm = norm.double().requires_grad_()
    x = rows.clone().requires_grad_()
    with torch.enable_grad():
        output = norm(x)
        wanted = {"at the input": x, **dict(norm.named_parameters())}
        gradients = torch.autograd.grad(output, list(wanted.values()), _noise(output, 0), allow_unused=True)
    return {"output": output.detach(), **dict(zip(wanted, gradients, strict=True))}


def _differ(one: Mapping[str, Tensor | None], other: Mapping[str, Tensor | None], tolerance: float = 0.0) -> bool:
    def is_equal(a: Tensor | None, b: Tensor | None) -> bool:
        if a is None or b is None:
            return a is b
        return a.shape == b.shape and torch.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)

    return one.keys() != other.keys() or not all(is_equal(one[key], other[key]) for key in one)


def _computes_the_same(norm: Norm, cls: type[Norm], rows: Tensor) -> bool:
    """Whether a norm computes what one of another class does with the same gain and bias, forward and backward."""
    own = copy.deepcopy(norm).cpu().double()
    own.axis = -1  # as rows are
    other = cls(norm.normalized_shape, norm.eps).double()
    given = dict(own.named_parameters())
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if name in given:
                parameter.copy_(given[name] + (own.gain_offset if name == "weight" else 0.0))
    found = [_passes(module, rows) for module in (own, other)]
    return not _differ(*({key: one[key] for key in ("output", "at the input")} for one in found), tolerance=1e-9)
