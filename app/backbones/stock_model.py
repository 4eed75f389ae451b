"""A model with injected norms as a stock transformers model, where both are the same.

One with placed norms is another model than its family's; `family_placed_so` knows in which other family norms stand so.

LayerNorm-simple is nn.LayerNorm with a gain of 1 and a bias of 0, so a BERT with it is a stock BERT. Whether two norms
are interchangeable is decided by what they compute, forward and backward: DetachNorm has LayerNorm's outputs but other
gradients, so fine-tuning would differ.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from app.backbones.embedding_scale import embedding_scales
from app.backbones.placement import placement_of
from app.backbones.sites import NormSite, norm_sites
from app.norms import Norm

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class PlacedFamily(NamedTuple):
    """A family of transformers, and how it differs from a placed model in anything else than the places of norms."""

    model_type: str
    differences: tuple[str, ...] = ()


# by model type and placement, at equal options
_PLACED_SO = {
    ("llama", "output(queries_and_keys=width)"): PlacedFamily("olmo2"),
    ("llama", "qk(over=head)"): PlacedFamily("qwen3"),
    ("llama", "peri(queries_and_keys=none)"): PlacedFamily(
        "gemma2",
        (
            "multiplies embeddings by the root of the width",
            "divides scores by the root of query_pre_attn_scalar rather than of the head width",
            "has tanh-GELU for SiLU",
            "has a sliding window in every other layer",
            "soft-caps attention scores and logits",
            "ties input and output embeddings",
            "stores gains less 1",
        ),
    ),
    ("bart", "pre(queries_and_keys=none)"): PlacedFamily(
        "mbart", ("begins decoder inputs made from labels with their last token, the language",)
    ),
    ("mbart", "post"): PlacedFamily(
        "bart", ("begins decoder inputs made from labels with decoder_start_token_id, not the last token",)
    ),
}
_TOLERANCE = 1e-4  # relative to the largest value; two float32 kernels of one formula differ by less than 1e-5
_SCALES = (0.05, 1.0, 40.0)  # of made-up inputs, for norms that differ only for small or large values


def to_stock_model(model: PreTrainedModel) -> PreTrainedModel | None:
    """Copy the model with the norms of its class, as stock transformers loads it; outputs are equal up to rounding.

    Args:
        model: a model with or without injected norms.

    Returns:
        The copy, in eval mode on the CPU. None if an injected norm computes something else than the norm of the model's
        class, or has a parameter that this one lacks, if the model has an embedding scale or a placement, or if
        transformers has no such class (a custom model).
    """
    import transformers

    if getattr(transformers, type(model).__name__, None) is not type(model) or embedding_scales(model):
        return None
    if not placement_of(model).is_native:
        return None
    config = copy.deepcopy(model.config)
    for key in ("norm", "placement"):
        if isinstance(getattr(config, key, None), dict):
            delattr(config, key)  # it marks a model that load_model must load
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


def family_placed_so(model: PreTrainedModel) -> PlacedFamily | None:
    """Return the family of transformers whose own norms stand where the placement of a model puts them, or None."""
    return _PLACED_SO.get((model.config.model_type, placement_of(model).signature))


def _fill(place: NormSite, norm: Norm, dtype: torch.dtype) -> None:
    """Set gain and bias of the stock norm to those of the injected one, or to 1 and 0 where it has none."""
    given = dict(norm.named_parameters())
    for name, slot in place.module.named_parameters():
        is_gain = name == "weight"
        value: Tensor = given[name] if name in given else torch.full(place.shape, float(is_gain), dtype=dtype)
        offset = place.gain_offset - (norm.gain_offset if name in given else 0.0) if is_gain else 0.0
        slot.data = (value.detach() - offset).cpu().clone()


def _is_the_same(norm: Norm, place: NormSite) -> bool:
    """Return whether both norms compute the same, forward and backward, for any gain and bias."""
    names = [name for name, _ in norm.named_parameters()]
    has_places = {"weight", "bias"} & {name for name, _ in place.module.named_parameters()}
    over = (norm.normalized_shape, norm.eps, norm.axis)
    if not has_places.issuperset(names) or over != (place.shape, place.eps, place.axis):
        return False
    mine, own = copy.deepcopy(norm).float().cpu(), copy.deepcopy(place.module).float().cpu()
    for number, parameter in enumerate(mine.parameters()):
        parameter.data = _made_up(place.shape, 0.7 + number) + 1.5
    _fill(dataclasses.replace(place, module=own), mine, torch.float32)
    return all(
        torch.allclose(a, b, rtol=0, atol=_TOLERANCE * max(1.0, float(b.abs().max())), equal_nan=True)
        for scale in _SCALES
        for a, b in zip(*(_results(n, place, names, scale) for n in (mine, own)), strict=True)
    )


def _results(norm: nn.Module, place: NormSite, names: Sequence[str], scale: float) -> list[Tensor]:
    """Compute the output on a made-up input of three rows, and the gradients of the input and the named parameters."""
    rows = _made_up((3, *[2] * (-place.axis - 1), *place.shape), 1.7).movedim(-1, place.axis)
    x = (scale * (rows + 0.4)).requires_grad_()
    sources = [x, *(norm.get_parameter(name).requires_grad_() for name in names)]
    with torch.enable_grad():
        y = norm(x)
        of_x, *of_parameters = torch.autograd.grad(y, sources, _made_up(y.shape, 0.9))
    return [y.detach(), of_x * scale, *of_parameters]  # the gradient of x is proportional to 1 / scale


def _made_up(shape: Sequence[int], step: float) -> Tensor:
    """Make values between -1 and 1 that are far from regular."""
    count = torch.Size(shape).numel()
    return torch.sin(torch.arange(count, dtype=torch.float32) * step).reshape(tuple(shape))
