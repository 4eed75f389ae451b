"""Passages: what goes through a norm in one forward and backward pass, seen without changing it.

Hooks are put on the norms for the batches of one update and taken off again, so that the updates between cost nothing.
The input of a norm passes through an identity of its own first: the gradient there is what leaves this norm, and not
what the parallel residual branch adds to the same tensor. For the norm `none`, whose output is its input, that identity
may regroup the sum of the branches after it, and so change last bits; no run of another norm is changed.

An input that the model overwrites in place before the backward pass is not measured, nor is `none` before a ReLU in
place. Inputs are kept for the backward pass of a watched update, also where a norm or checkpointing would not do so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pytorch_lightning import Trainer
from torch import Tensor, nn

from app.norms import Norm


class NormCall(NamedTuple):
    """One pass of N tokens through the norm of a site, H features each (the product of its normalized_shape).

    Tokens that no gradient reaches, such as padding, are not among them.
    """

    site: str
    norm: Norm
    x: Tensor  # (N, H), the input
    dy: Tensor  # (N, H), the gradient that arrives at the output
    dx: Tensor  # (N, H), the gradient that leaves at the input


class NormHooks:
    """Calls `observe` for each norm_call through each of `norms`, in the backward pass, while it is on."""

    def __init__(self, norms: dict[str, Norm], observe: Callable[[NormCall], None]) -> None:
        self.norms, self.observe = norms, observe
        self._handles: list[Any] = []
        self._given: dict[Norm, Tensor] = {}  # the input of the forward pass that a norm is in

    @property
    def is_on(self) -> bool:
        """Whether the hooks are there."""
        return bool(self._handles)

    def start(self) -> None:
        """Put the hooks on."""
        for site, norm in self.norms.items():
            self._handles.append(norm.register_forward_pre_hook(self._enter, with_kwargs=True))
            self._handles.append(norm.register_forward_hook(self._leave(site)))

    def stop(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._given.clear()

    def _enter(
        self, norm: nn.Module, arguments: tuple[Tensor, ...], named: Mapping[str, Tensor]
    ) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        assert isinstance(norm, Norm)
        x = arguments[0] if arguments else named["x"]
        self._given[norm] = x.view_as(x)
        return (self._given[norm],), {}

    def _leave(self, site: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def leave(norm: nn.Module, _: Any, output: Tensor) -> None:
            assert isinstance(norm, Norm)
            x = self._given.pop(norm)
            if not (x.requires_grad and output.requires_grad):
                return  # without gradients: in evaluation, or the first of two passes under checkpointing
            arrived: list[Tensor] = []
            given, version = x.detach(), x._version  # a hook of x that held x itself would keep both for ever
            output.register_hook(arrived.append)  # before the other one, for a norm that gives out its input
            x.register_hook(lambda dx: self._observe(site, norm, given, version, arrived, dx))

        return leave

    def _observe(self, site: str, norm: Norm, x: Tensor, version: int, arrived: list[Tensor], dx: Tensor) -> None:
        if not self.is_on or x._version != version:
            return
        size = math.prod(norm.normalized_shape)
        rows = [norm.features_last(tensor).reshape(-1, size) for tensor in (x, arrived.pop(), dx)]
        reached = rows[1].any(-1)
        if not reached.all():
            rows = [tensor[reached] for tensor in rows]
        if len(rows[0]):
            self.observe(NormCall(site, norm, *rows))


def norms_of(pl_module: nn.Module) -> dict[str, Norm]:
    """The norms of a module, by their paths in it, or in its `model` where it has one, as norm_sites.csv has them.

    They are in the order of its `sites`, a task's records of its norms; without them, in the order of registration.
    """
    model = getattr(pl_module, "model", pl_module)
    norms = {path: module for path, module in model.named_modules() if isinstance(module, Norm)}
    order = [site.path for site in getattr(pl_module, "sites", ()) if site.path in norms]
    return {path: norms[path] for path in dict.fromkeys((*order, *norms))}


def is_due(trainer: Trainer, every_n_steps: int) -> bool:
    """Whether the update in progress is to be looked at: the first, and each whose number is a multiple."""
    number = trainer.global_step + 1
    return number == 1 or number % every_n_steps == 0
