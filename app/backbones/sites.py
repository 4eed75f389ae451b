"""Which modules of a model are norms: decided by what they compute, never by a name.

A class with "norm" in its name may be a whole model (`RobertaPreLayerNormModel`), and half of Hugging Face's families
have a norm class of their own. So a norm is `nn.LayerNorm`, `nn.RMSNorm`, one of `app.norms`, or a leaf module with a
gain of one dimension and an eps that computes, on a small fixed input, what LayerNorm or RMSNorm computes. GroupNorm
and BatchNorm have the same attributes but other axes, and do not count.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from app.errors import InputError
from app.norms import Norm

Kind = Literal["layernorm", "rmsnorm", "app.norms"]
_OTHER_AXES = (nn.GroupNorm, nn.modules.batchnorm._NormBase)  # both would pass the probe on a matrix


@dataclass(frozen=True, eq=False)
class NormSite:
    """One norm of a model.

    Attributes:
        path: module path; the first one of a shared module.
        aliases: the other paths of a shared module.
        module: the norm itself.
        kind: what it computes.
        gain_offset: gain minus weight; 1 in Gemma's norms, 0 in nearly all others.
        shape: the trailing dimensions it normalizes over.
        eps: added to the variance or mean square.
    """

    path: str
    aliases: tuple[str, ...]
    module: nn.Module
    kind: Kind
    gain_offset: float
    shape: tuple[int, ...]
    eps: float

    @property
    def paths(self) -> tuple[str, ...]:
        """All paths of the module in the model."""
        return (self.path, *self.aliases)


@dataclass(frozen=True)
class LeftNorm:
    """A module that is a norm by its name, or by its attributes, and that cannot be replaced.

    Attributes:
        path: module path.
        class_name: name of its class.
        reason: why it is not a `NormSite`.
    """

    path: str
    class_name: str
    reason: str


def norm_sites(model: nn.Module) -> list[NormSite]:
    """Find all norms of a model, each instance once, in the order of `model.named_modules()`.

    Raises:
        InputError: if a class must be recognized by what it computes, and the model has no values (meta device).
    """
    paths: dict[int, list[str]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        paths.setdefault(id(module), []).append(path)
    sites = []
    for path, module in model.named_modules():
        recognized = _recognize(module) if path else None  # the root has no parent to replace it in
        if recognized is not None:
            first, *others = paths[id(module)]
            sites.append(NormSite(first, tuple(others), module, *recognized, _shape(module), _eps(module)))
    return sites


def left_norms(model: nn.Module) -> list[LeftNorm]:
    """Find what is called a norm, or looks like one, and is not among `norm_sites`, each instance once."""
    return [
        LeftNorm(path, type(module).__name__, _why_left(module))
        for path, module in model.named_modules()
        if path and (_is_called_a_norm(module) or _looks_like_a_norm(module)) and not is_norm(module)
    ]


def is_norm(module: nn.Module) -> bool:
    """Return whether a module is a norm, by the rule of `norm_sites`."""
    return _recognize(module) is not None


def name_paths(paths: Iterable[str], limit: int = 6) -> str:
    """List paths for a message, without the middle ones if there are more than `limit`."""
    found = list(paths)
    if len(found) > limit:
        half = limit // 2
        found = [*found[:half], f"... {len(found) - 2 * half} more ...", *found[-half:]]
    return ", ".join(found) or "none"


def _recognize(module: nn.Module) -> tuple[Kind, float] | None:
    """Return kind and gain offset of a norm, or None for any other module."""
    if isinstance(module, Norm):
        return "app.norms", module.gain_offset
    forward = type(module).forward
    if isinstance(module, nn.LayerNorm) and forward is nn.LayerNorm.forward:
        return "layernorm", 0.0
    if isinstance(module, nn.RMSNorm) and forward is nn.RMSNorm.forward:
        return "rmsnorm", 0.0
    return _probe(module) if _looks_like_a_norm(module) else None


def _looks_like_a_norm(module: nn.Module) -> bool:
    parameters = dict(module.named_parameters(recurse=False))
    weight = parameters.get("weight")
    return (
        not isinstance(module, _OTHER_AXES)
        and parameters.keys() <= {"weight", "bias"}
        and weight is not None
        and weight.dim() == 1
        and weight.is_floating_point()
        and isinstance(getattr(module, "eps", getattr(module, "variance_epsilon", None)), (int, float))
        and next(module.children(), None) is None
        and next(module.buffers(), None) is None
        and len(inspect.signature(type(module).forward).parameters) == 2  # self and x: a gated norm takes more
    )


def _is_called_a_norm(module: nn.Module) -> bool:
    cls = type(module)
    return (
        re.search("Norm(?!al)", cls.__name__) is not None  # and not Normalize, NormalFloat
        and not cls.__module__.startswith("torch.nn.utils.")  # norms of weights
        and not any(True for child in module.children() for _ in child.parameters())  # a block, or a whole model
    )


def _why_left(module: nn.Module) -> str:
    if isinstance(module, _OTHER_AXES):
        return "normalizes over other axes than the last"
    if len(inspect.signature(type(module).forward).parameters) != 2:
        return "takes another input than the one it normalizes"
    if not isinstance(getattr(module, "weight", None), Tensor):
        return "has no gain"
    return "does not compute a LayerNorm or RMSNorm over the last dimension"


@torch.no_grad()
def _probe(module: nn.Module) -> tuple[Kind, float] | None:
    """Recognize a norm by what it computes on a fixed input of three rows, (3, H); None for anything else."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    if weight.is_meta:
        raise InputError(f"{type(module).__name__} is on the meta device; move the model to a device with values first")
    steps = torch.arange(3 * weight.numel(), dtype=torch.float32).reshape(3, -1)
    x = (torch.sin(steps * 1.7) * 2 + 1.5).to(
        weight.device, weight.dtype
    )  # (3, H), with a mean other than 0 and a deviation other than 1
    try:
        got = module(x)
    except (RuntimeError, ValueError, TypeError, IndexError):  # made for other shapes, such as channels first
        return None
    if not isinstance(got, Tensor) or got.shape != x.shape:
        return None
    x, gain, eps = x.double(), weight.double(), _eps(module)
    bias = getattr(module, "bias", None)
    shift = bias.double() if isinstance(bias, Tensor) else 0.0
    centred = x - x.mean(-1, keepdim=True)
    normalized: dict[Kind, Tensor] = {
        "layernorm": centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + eps),
        "rmsnorm": x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps),
    }
    rounding = 8 * max(torch.finfo(weight.dtype).eps, torch.finfo(torch.float32).eps)  # statistics are at best float32
    for kind, y in normalized.items():
        for offset in (0.0, 1.0):
            expected = y * (gain + offset) + shift
            atol = rounding * max(1.0, float(expected.abs().max()))
            if torch.allclose(got.double(), expected, rtol=rounding, atol=atol):
                return kind, offset
    return None


def _shape(module: nn.Module) -> tuple[int, ...]:
    shape = getattr(module, "normalized_shape", None)
    if shape is None:
        assert isinstance(module.weight, Tensor)
        shape = module.weight.shape
    return tuple(shape)


def _eps(module: nn.Module) -> float:
    eps = getattr(module, "eps", getattr(module, "variance_epsilon", None))
    if eps is None:  # nn.RMSNorm's default: the machine epsilon of its input's dtype
        weight = getattr(module, "weight", None)
        eps = torch.finfo(weight.dtype if isinstance(weight, Tensor) else torch.float32).eps
    return float(eps)
