"""A model with injected norms as its own class builds it, where that is the same model.

LayerNorm-simple is nn.LayerNorm with a gain of 1 and a bias of 0, so a BERT with it is an ordinary BERT. Whether norms
may change places is decided by what they compute, forward and backward: DetachNorm gives LayerNorm's outputs and other
gradients, and fine-tuned as an ordinary LayerNorm it would be something else.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from app.backbones.sites import NormSite, norm_sites
from app.norms import Norm

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_TOLERANCE = 1e-4  # relative to the largest value; two float32 kernels of one formula differ by less than 1e-5
_SCALES = (0.05, 1.0, 40.0)  # of made-up inputs: a norm that differs at sizes of its own differs at one of them


def to_stock_model(model: PreTrainedModel) -> PreTrainedModel | None:
    """A copy of the model with its own class's norms, which plain transformers loads; outputs are equal to rounding.

    Args:
        model: with injected norms or without.

    Returns:
        The copy, in eval mode on the CPU, or None where an injected norm computes something else than the norm that
        the model's own class builds in its place, or has a parameter that this one has no place for, or where
        transformers has no such class (a model of ours).
    """
    import transformers

    if getattr(transformers, type(model).__name__, None) is not type(model):
        return None
    config = copy.deepcopy(model.config)
    if isinstance(getattr(config, "norm", None), dict):
        del config.norm  # it marks a model that load_model is to be asked for
    with torch.random.fork_rng(devices=[]):
        own: PreTrainedModel = type(model)(config)
    places = {path: site for site in norm_sites(own) for path in site.paths}
    injected = {path: module for path, module in model.named_modules() if isinstance(module, Norm)}
    for path, norm in injected.items():
        if path not in places or not _is_the_same(norm, places[path]):
            return None
    tensors = model.state_dict()
    for name, slot in own.state_dict(keep_vars=True).items():
        if name in tensors:
            slot.data = tensors[name].detach().cpu().clone()
    for path, norm in injected.items():
        _fill(places[path], norm, model.dtype)
    if model.can_generate():
        own.generation_config = copy.deepcopy(model.generation_config)
    return own.eval()


def _fill(place: NormSite, norm: Norm, dtype: torch.dtype) -> None:
    """Give the own norm the injected one's gain and bias, 1 and 0 where it has none."""
    given = dict(norm.named_parameters())
    for name, slot in place.module.named_parameters():
        is_gain = name == "weight"
        value: Tensor = given[name] if name in given else torch.full(place.shape, float(is_gain), dtype=dtype)
        slot.data = (value.detach() - (place.gain_offset if is_gain else 0.0)).cpu().clone()


def _is_the_same(norm: Norm, place: NormSite) -> bool:
    """Whether the own norm can compute what the injected one does, forward and backward, for any gain and bias."""
    names = [name for name, _ in norm.named_parameters()]
    has_places = {"weight", "bias"} & {name for name, _ in place.module.named_parameters()}
    if not has_places.issuperset(names) or (norm.normalized_shape, norm.eps) != (place.shape, place.eps):
        return False
    mine, own = copy.deepcopy(norm).float().cpu(), copy.deepcopy(place.module).float().cpu()
    for number, parameter in enumerate(mine.parameters()):
        parameter.data = _made_up(place.shape, 0.7 + number) + 1.5
    _fill(dataclasses.replace(place, module=own), mine, torch.float32)
    return all(
        torch.allclose(a, b, rtol=0, atol=_TOLERANCE * max(1.0, float(b.abs().max())), equal_nan=True)
        for scale in _SCALES
        for a, b in zip(*(_results(n, place.shape, names, scale) for n in (mine, own)), strict=True)
    )


def _results(norm: nn.Module, shape: Sequence[int], names: Sequence[str], scale: float) -> list[Tensor]:
    """Output on a made-up input of three rows, and the gradients that reach the input and the parameters named."""
    x = (scale * (_made_up((3, *shape), 1.7) + 0.4)).requires_grad_()
    sources = [x, *(norm.get_parameter(name).requires_grad_() for name in names)]
    with torch.enable_grad():
        y = norm(x)
        of_x, *of_parameters = torch.autograd.grad(y, sources, _made_up(y.shape, 0.9))
    return [y.detach(), of_x * scale, *of_parameters]  # what reaches x goes with 1 / scale


def _made_up(shape: Sequence[int], step: float) -> Tensor:
    """Between -1 and 1, far from regular."""
    count = torch.Size(shape).numel()
    return torch.sin(torch.arange(count, dtype=torch.float32) * step).reshape(tuple(shape))
