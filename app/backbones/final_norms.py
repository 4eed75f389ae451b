"""The preset `final`: the norm after the last layer of each stack, found by watching data flow."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from app.backbones.one_pass import eval_mode, tensors_in
from app.backbones.sites import NormSite, name_paths
from app.errors import InputError


def final_sites(model: nn.Module, sites: Sequence[NormSite]) -> list[NormSite]:
    """Return the norms whose input is exactly what the last layer of a stack returned.

    A stack is an `nn.ModuleList`. One forward pass over a tiny made-up input, in eval mode, shows which norm outside
    all stacks is called with the very tensor that the last module of a stack returned. That holds for the closing norm
    of a pre-norm stack only: a norm of the embeddings runs before the layers, one of a prediction head after a dense
    layer, and a post-norm layer ends in a norm of its own. Weights, training mode and random state do not change.

    Raises:
        InputError: if there is none, or the model is not a Hugging Face model or refuses the made-up input.
    """
    stacks = {path: module for path, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    outside = [s for s in sites if not any(path.startswith(f"{stack}.") for stack in stacks for path in s.paths)]
    given_out: list[Tensor] = []  # kept alive, so that no later tensor takes an id that is compared
    found: list[NormSite] = []

    def after_last_layer(layer: nn.Module, args: Any, output: Any) -> None:
        given_out.extend(tensors_in(output))

    def before_norm(site: NormSite, args: tuple[Any, ...]) -> None:
        if site not in found and any(x is tensor for x in args for tensor in given_out):
            found.append(site)

    handles = [stack[-1].register_forward_hook(after_last_layer) for stack in stacks.values() if len(stack)]
    for site in outside:
        handles.append(site.module.register_forward_pre_hook(lambda norm, args, site=site: before_norm(site, args)))
    try:
        _forward_once(model, sites)
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise InputError(
            f"sites 'final': no norm follows the last layer of {type(model).__name__} (only pre-norm models have "
            f"one); use all or regular expressions; its norms: {name_paths(s.path for s in sites)}"
        )
    return [site for site in sites if site in found]


def _forward_once(model: nn.Module, sites: Sequence[NormSite]) -> None:
    backbone = getattr(model, "base_model", model)  # heads have no stack, and some need special tokens
    with eval_mode(model), torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            backbone(**_made_up_input(backbone))
        except Exception as error:  # of any class, because the model may be of any kind
            raise InputError(
                f"sites 'final' needs one forward pass, which {type(model).__name__} refused ({error}); "
                f"use regular expressions instead; its norms: {name_paths(s.path for s in sites)}"
            ) from error


def _made_up_input(backbone: nn.Module) -> dict[str, Tensor]:
    accepted = inspect.signature(backbone.forward).parameters
    reference = next(backbone.parameters())
    if getattr(backbone, "main_input_name", None) == "pixel_values":
        config: Any = backbone.config
        size = config.image_size
        height, width = (size, size) if isinstance(size, int) else size
        image = torch.zeros(1, config.num_channels, height, width, device=reference.device, dtype=reference.dtype)
        return {"pixel_values": image}
    if getattr(backbone, "main_input_name", None) == "inputs_embeds":
        config = backbone.config
        return {"inputs_embeds": torch.zeros(1, config.input_size, device=reference.device, dtype=reference.dtype)}
    tokens = torch.zeros(1, 4, dtype=torch.long, device=reference.device)  # (B, S): token 0 is in every vocabulary
    values = {"input_ids": tokens, "decoder_input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    return {name: value for name, value in values.items() if name in accepted}
