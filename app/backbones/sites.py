"""Which modules of a model are norms: decided by what they compute, never by a name.

A class with "norm" in its name may be a whole model (`RobertaPreLayerNormModel`), and half of Hugging Face's families
have a norm class of their own. So a norm is `nn.LayerNorm`, `nn.RMSNorm`, one of `app.norms`, or a leaf module that
computes, on a small fixed input, what LayerNorm or RMSNorm computes over the last dimensions, or over the channels of
a channels-first map, with a gain or without. GroupNorm and BatchNorm have the same attributes but other axes, and do
not count. Where a norm without parameters does not know its width, a forward pass over a made-up input shows it.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from app.backbones.example_input import example_calls, run_calls
from app.backbones.one_pass import tensors_in
from app.errors import InputError
from app.norms import Norm

Kind = Literal["layernorm", "rmsnorm", "app.norms"]
_OTHER_AXES = (nn.GroupNorm, nn.modules.batchnorm._NormBase)  # both would pass a probe of one position
_AXES = (-1, -2, -3)  # where the features are in (B, S, H), in (B, C, L) and in (B, C, H, W)
_ANY_WIDTH = (16,)  # of the probe of a norm that does not know its own


@dataclass(frozen=True, eq=False)
class NormSite:
    """One norm of a model.

    Attributes:
        path: module path; the first one of a shared module.
        aliases: the other paths of a shared module.
        module: the norm itself.
        kind: what it computes.
        gain_offset: gain minus weight; 1 in Gemma's norms, 0 in nearly all others.
        shape: the dimensions it normalizes over.
        eps: added to the variance or mean square.
        axis: where the last of these dimensions is in its input: -1, or -2 and -3 in channels-first maps.
    """

    path: str
    aliases: tuple[str, ...]
    module: nn.Module
    kind: Kind
    gain_offset: float
    shape: tuple[int, ...]
    eps: float
    axis: int

    @property
    def paths(self) -> tuple[str, ...]:
        """All paths of the module in the model."""
        return (self.path, *self.aliases)


@dataclass(frozen=True)
class LeftNorm:
    """A module that is a norm by its name, by its attributes or by what it computes, and that cannot be replaced.

    Attributes:
        path: module path.
        class_name: name of its class.
        reason: why it is not a `NormSite`.
    """

    path: str
    class_name: str
    reason: str


class _Formula(NamedTuple):
    """What a norm computes; `shape` is None where only its input says it."""

    kind: Kind
    gain_offset: float
    shape: tuple[int, ...] | None
    eps: float
    axis: int = -1


def norm_sites(model: nn.Module) -> list[NormSite]:
    """Find all norms of a model, each instance once, in the order of `model.named_modules()`.

    Raises:
        InputError: if a class must be recognized by what it computes, and the model has no values (meta device).
    """
    return survey_norms(model)[0]


def left_norms(model: nn.Module) -> list[LeftNorm]:
    """Find what is called a norm, or looks like one, and is not among `norm_sites`, each instance once."""
    return survey_norms(model)[1]


def survey_norms(model: nn.Module) -> tuple[list[NormSite], list[LeftNorm]]:
    """Return `norm_sites` and `left_norms` of a model."""
    paths: dict[nn.Module, list[str]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        if path:  # the root has no parent to replace it in
            paths.setdefault(module, []).append(path)
    formulas = {module: formula for module in paths if (formula := _recognize(module)) is not None}
    traced = _trace_shapes(model, {norm: formula.axis for norm, formula in formulas.items() if formula.shape is None})
    seen = {module for module in paths if module in formulas or _is_called_a_norm(module) or _has_a_gain(module)}
    sites, left = [], []
    for module, (path, *others) in paths.items():
        if module in formulas:
            kind, gain_offset, known, eps, axis = formulas[module]
            shape = known or traced[module]
            if isinstance(shape, str):
                left.append(LeftNorm(path, type(module).__name__, shape))
            else:
                sites.append(NormSite(path, tuple(others), module, kind, gain_offset, shape, eps, axis))
        elif module in seen and seen.isdisjoint(list(module.modules())[1:]):  # and not a block, or a whole model
            left.append(LeftNorm(path, type(module).__name__, _why_left(module)))
    return sites, left


def is_norm(module: nn.Module) -> bool:
    """Return whether a module is a norm, by the rule of `norm_sites`."""
    return _recognize(module) is not None


def offer_what_models_read(new: nn.Module, old: nn.Module) -> None:
    """Give what stands in the place of a norm what models read of one: a gain of 1, of its dtype and device, or None.

    Mamba casts to `norm.weight.dtype`, as some of BLIP-2's and Gemma's modules do. The gain is a buffer that is in no
    state dict, so nothing counts, trains or saves it.
    """
    for name in ("weight", "bias"):
        if hasattr(old, name) and not hasattr(new, name):
            value = getattr(old, name)
            if name == "weight" and isinstance(value, Tensor):
                new.register_buffer(
                    name, value.new_ones(getattr(new, "normalized_shape", value.shape)), persistent=False
                )
            else:
                new.register_parameter(name, None)


def name_paths(paths: Iterable[str], limit: int = 6) -> str:
    """List paths for a message, without the middle ones if there are more than `limit`."""
    found = list(paths)
    if len(found) > limit:
        half = limit // 2
        found = [*found[:half], f"... {len(found) - 2 * half} more ...", *found[-half:]]
    return ", ".join(found) or "none"


def _recognize(module: nn.Module) -> _Formula | None:
    """Return what a norm computes, or None for any other module."""
    if isinstance(module, Norm):
        return _Formula("app.norms", module.gain_offset, module.normalized_shape, module.eps, module.axis)
    forward = type(module).forward
    if isinstance(module, nn.LayerNorm) and forward is nn.LayerNorm.forward:
        return _Formula("layernorm", 0.0, tuple(module.normalized_shape), module.eps)
    if isinstance(module, nn.RMSNorm) and forward is nn.RMSNorm.forward:
        return _Formula("rmsnorm", 0.0, tuple(module.normalized_shape), _rms_norm_eps(module))
    return _probe(module) if _looks_like_a_norm(module) else None


def _looks_like_a_norm(module: nn.Module) -> bool:
    if next(module.children(), None) is not None or isinstance(module, _OTHER_AXES):
        return False
    if _eps(module) is None and not hasattr(module, "normalized_shape") and not _is_called_a_norm(module):
        return False
    tensors = _tensors(module)
    weight = tensors.get("weight")
    return (
        tensors.keys() <= ({"weight", "bias"} if weight is not None else set())
        and (weight is None or (weight.is_floating_point() and tuple(weight.shape) == _gain_shape(module, weight)))
        and len(_inputs(module)) == 1  # a gated norm takes more
    )


def _has_a_gain(module: nn.Module) -> bool:
    """Return whether a module looks like a norm that has a gain: without one, anything with an eps does."""
    return _looks_like_a_norm(module) and "weight" in _tensors(module)


def _is_called_a_norm(module: nn.Module) -> bool:
    cls = type(module)
    return (
        re.search("Norm(?!al)", cls.__name__) is not None  # and not Normalize, NormalFloat
        and not cls.__module__.startswith("torch.nn.utils.")  # norms of weights
        and (
            cls.__name__.endswith("Norm")
            or not any(True for child in module.children() for _ in child.parameters())  # a block, or a whole model
        )
    )


def _why_left(module: nn.Module) -> str:
    if isinstance(module, _OTHER_AXES):
        return "normalizes over other axes than the last"
    others = _inputs(module)[1:]
    if others:
        return f"takes another input ({', '.join(others)}) than the one it normalizes"
    own = [name for name, _ in module.named_children()]
    if own:
        return f"has modules of its own ({', '.join(own)})"
    weight = _tensors(module).get("weight")
    if weight is not None and tuple(weight.shape) != _gain_shape(module, weight):
        return f"has a gain of shape {tuple(weight.shape)}, and normalizes over {_gain_shape(module, weight)}"
    return "does not compute a LayerNorm or RMSNorm over the last dimension or the channels"


@torch.no_grad()
def _probe(module: nn.Module) -> _Formula | None:
    """Recognize a norm by what it computes on a fixed input, at the first of `_AXES` that fits; None if none does."""
    tensors = _tensors(module)
    if any(tensor.is_meta for tensor in tensors.values()):
        raise InputError(f"{type(module).__name__} is on the meta device; move the model to a device with values first")
    shape = _shape(module)
    weight = tensors.get("weight", torch.ones(shape or _ANY_WIDTH))
    gain, shift = weight.double(), tensors["bias"].double() if "bias" in tensors else 0.0
    dims = tuple(range(-weight.dim(), 0))
    rounding = 8 * max(torch.finfo(weight.dtype).eps, torch.finfo(torch.float32).eps)  # statistics are at best float32
    for axis in _AXES if weight.dim() == 1 else _AXES[:1]:
        lead = (3, 2, *[2] * (-axis - 2))
        steps = torch.arange(math.prod(lead) * weight.numel(), dtype=torch.float32).reshape(*lead, *weight.shape)
        x = torch.sin(steps * 1.7) * 2 + 1.5  # with a mean other than 0 and a deviation other than 1
        if _eps(module) is None:
            x[-1] *= 1e-5  # so small that its outputs show eps
        x = x.to(weight.device, weight.dtype)
        got = _output(module, x, axis)
        if got is None:
            continue
        x = x.double()
        centred: dict[Kind, Tensor] = {"layernorm": x - x.mean(dims, keepdim=True), "rmsnorm": x}
        for kind, numerator in centred.items():
            variance = numerator.square().mean(dims, keepdim=True)
            for offset in (0.0, 1.0):
                unscaled = numerator * (gain + offset)
                eps = _eps(module)
                if eps is None:
                    eps = _implied_eps(unscaled[-1], variance[-1], (got - shift)[-1], dims)
                expected = unscaled * torch.rsqrt(variance + eps) + shift
                atol = rounding * max(1.0, float(expected.abs().max()))
                if 0 <= eps < math.inf and torch.allclose(got, expected, rtol=rounding, atol=atol):
                    return _Formula(kind, offset, shape, eps, axis)
    return None


def _output(module: nn.Module, x: Tensor, axis: int) -> Tensor | None:
    """Return in float64 what a module makes of x, whose features are moved to `axis`; None if it refuses them there."""
    try:
        got = module(x.movedim(-1, axis))
    except Exception:  # of any class, because the module may be of any kind
        return None
    if not isinstance(got, Tensor) or got.dim() != x.dim():
        return None
    got = got.movedim(axis, -1)
    return got.double() if got.shape == x.shape else None


def _implied_eps(unscaled: Tensor, variance: Tensor, got: Tensor, dims: tuple[int, ...]) -> float:
    """Return the eps with which got = unscaled / sqrt(variance + eps), to the three digits that a source would have."""
    ratio = torch.linalg.vector_norm(unscaled, dim=dims) / torch.linalg.vector_norm(got, dim=dims)
    eps = float((ratio.square() - variance.squeeze(dims)).mean())
    return 0.0 if abs(eps) < 1e-15 else float(f"{eps:.3g}")


def _trace_shapes(model: nn.Module, axes: Mapping[nn.Module, int]) -> dict[nn.Module, tuple[int, ...] | str]:
    """Return the shape that each norm meets at its axis in forward passes over made-up inputs, or why it has none."""
    if not axes:
        return {}
    seen: dict[nn.Module, set[int]] = {norm: set() for norm in axes}

    def record(norm: nn.Module, args: Any, named: Any) -> None:
        seen[norm].update(x.shape[axes[norm]] for x in tensors_in([args, named]))

    why = "no made-up input reaches it"
    try:
        calls = example_calls(model)
    except ValueError as error:
        calls, why = [], " ".join(str(error).split())
    handles = [norm.register_forward_pre_hook(record, with_kwargs=True) for norm in axes]
    try:
        run_calls(calls)
    finally:
        for handle in handles:
            handle.remove()
    shapes: dict[nn.Module, tuple[int, ...] | str] = {}
    for norm, widths in seen.items():
        if len(widths) == 1:
            shapes[norm] = tuple(widths)
        elif widths:
            shapes[norm] = f"is called with {' and '.join(map(str, sorted(widths)))} features, and a norm has one width"
        else:
            shapes[norm] = f"does not say over how many features it normalizes, and {why}"
    return shapes


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's own parameters and buffers."""
    return {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}


def _inputs(module: nn.Module) -> list[str]:
    """Return the names of what `forward` takes."""
    return list(inspect.signature(type(module).forward).parameters)[1:]


def _shape(module: nn.Module) -> tuple[int, ...] | None:
    """Return the shape that a norm keeps, or that of its gain; None where it has neither.

    A gain that is a buffer says nothing: Falcon-Mamba's norms have one of another width that they do not use.
    """
    weight = dict(module.named_parameters(recurse=False)).get("weight")
    return _kept_shape(module) or (None if weight is None else tuple(weight.shape))


def _gain_shape(module: nn.Module, weight: Tensor) -> tuple[int, ...]:
    """Return the shape that a gain must have: what the norm normalizes over, or one dimension of any size."""
    return _kept_shape(module) or (weight.numel(),)


def _kept_shape(module: nn.Module) -> tuple[int, ...] | None:
    """Return the shape that torch's norms and many others keep in an attribute, or None."""
    shape = getattr(module, "normalized_shape", None)
    return (shape,) if isinstance(shape, int) else shape and tuple(shape)


def _eps(module: nn.Module) -> float | None:
    """Return the eps that a norm keeps, or None."""
    eps = getattr(module, "eps", getattr(module, "variance_epsilon", None))
    return float(eps) if isinstance(eps, (int, float)) else None


def _rms_norm_eps(module: nn.RMSNorm) -> float:
    """Return the eps of an nn.RMSNorm; without one, it is the machine epsilon of its input's dtype."""
    if module.eps is not None:
        return module.eps
    return torch.finfo(torch.float32 if module.weight is None else module.weight.dtype).eps
