"""The preset `final`: the norm after the last layer of each stack, found by watching data flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from app.backbones.example_input import example_calls, run_calls
from app.backbones.one_pass import tensors_in
from app.backbones.sites import NormSite, name_paths
from app.errors import InputError


def final_sites(model: nn.Module, sites: Sequence[NormSite]) -> list[NormSite]:
    """Return the norms whose input is exactly what the last layer of a stack returned, or a selection of it.

    A stack is an `nn.ModuleList`. A forward pass over a tiny made-up input, in eval mode, shows which norm outside all
    stacks is called with the very tensor that the last module of a stack returned, or with some of its rows, such as
    that of the first token. That holds for the closing norm of a pre-norm stack only: a norm of the embeddings runs
    before the layers, one of a prediction head after a dense layer, and a post-norm layer ends in a norm of its own.
    Models in the model that this pass does not reach, such as a vision tower, get a pass of their own. Weights,
    training mode and random state do not change.

    Raises:
        InputError: if there is none, or the model is not a Hugging Face model or refuses all made-up inputs.
    """
    try:
        calls = example_calls(model)
    except ValueError as error:
        raise InputError(
            f"sites 'final' needs one forward pass, but {error}; "
            f"use regular expressions instead; its norms: {name_paths(s.path for s in sites)}"
        ) from error
    stacks = {path: module for path, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    outside = [s for s in sites if not any(path.startswith(f"{stack}.") for stack in stacks for path in s.paths)]
    given_out: list[Tensor] = []  # kept alive, so that no later tensor takes a storage that is compared
    found: list[NormSite] = []

    def after_last_layer(layer: nn.Module, args: Any, output: Any) -> None:
        given_out.extend(tensors_in(output))

    def before_norm(site: NormSite, args: tuple[Any, ...]) -> None:
        if site not in found and any(_is_taken_from(x, tensor) for x in tensors_in(args) for tensor in given_out):
            found.append(site)

    handles = [stack[-1].register_forward_hook(after_last_layer) for stack in stacks.values() if len(stack)]
    for site in outside:
        handles.append(site.module.register_forward_pre_hook(lambda norm, args, site=site: before_norm(site, args)))
    try:
        run_calls(calls)
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise InputError(
            f"sites 'final': no norm follows the last layer of {type(model).__name__} (only pre-norm models have "
            f"one); use all or regular expressions; its norms: {name_paths(s.path for s in sites)}"
        )
    return [site for site in sites if site in found]


def _is_taken_from(x: Tensor, source: Tensor) -> bool:
    """Return whether x (..., H) is the source, a view of it, or a copy of some of its rows."""
    if not (x.dim() and source.dim() and x.is_floating_point()) or x.shape[-1] != source.shape[-1]:
        return False
    if x.untyped_storage().data_ptr() == source.untyped_storage().data_ptr():
        return x.stride(-1) == source.stride(-1)  # another one in a transposed view, as between convolutions and layers
    if x.dtype != source.dtype or x.device != source.device:
        return False
    rows, all_rows = x.reshape(-1, x.shape[-1]), source.reshape(-1, x.shape[-1])
    return all(bool((all_rows == row).all(-1).any()) for row in rows)
