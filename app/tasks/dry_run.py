"""A dry run before the first step: what only a forward pass shows of a model, found before anything is written.

It runs in eval mode, draws from a copy of the random state, and changes no weight and no counter, so that the run that
follows is the same bit for bit.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from app.backbones import eval_mode, name_paths, tensors_in
from app.batches import Batch
from app.errors import InputError

if TYPE_CHECKING:
    from app.tasks.base import Task

log = logging.getLogger(__name__)

_ANYWHERE = (None, "eager", "sdpa")  # kernels of attention that also compute on a CPU and in float32
_TOLERANCE = 1e-4  # of the largest output; models that heed the mask stay below 1e-6, the others are above 1e-3


def dry_run(task: Task, together: Batch, alone: Batch) -> list[str]:
    """Compute the loss of a small batch, and refuse a model that cannot, or whose answers depend on padding.

    It also puts `task.sites` into the order in which the forward pass reaches them, which a model need not register
    them in: mbart's layernorm_embedding is the first norm of its encoder and the last one registered. A warning names
    norms that were replaced and that the forward pass does not reach: they do nothing.

    A model whose attention needs a GPU (flash_attention_2) is not run.

    Args:
        task: on the CPU, in float32, without a trainer.
        together: a small training batch, padded if the batches of the run may be.
        alone: its first example alone.

    Returns:
        Names of the trainable parameters that get no gradient from this batch.

    Raises:
        InputError: if the model refuses the batch, if its outputs for an example depend on the others in the batch, or
            if it does not see what the task needs to see.
    """
    if task.model.config._attn_implementation not in _ANYWHERE:
        return []
    with eval_mode(task), torch.random.fork_rng(devices=[]):
        try:
            with _first_outputs(task.model) as outputs, _sites_in_order_of_calls(task):
                loss = task.train_loss(together).objective
                with torch.no_grad():
                    task.train_loss(alone)
            _check_padding(task, *outputs)
            task.check_sight(together)
        except InputError:
            raise
        except Exception as error:
            frames = traceback.walk_tb(error.__traceback__)
            if not any(frame.f_globals.get("__name__", "").startswith("transformers.models.") for frame, _ in frames):
                return []  # not the model's: the first step will raise it in its place
            said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            given = ", ".join(f"{name}={value!r}" for name, value in task.model_options.items())
            raise InputError(
                f"{task.model_label} cannot compute a batch ({said}); options: {given}; change one of them, the norm "
                "or the model type"
            ) from error
    reached = _reached(loss)
    return [name for name, p in task.named_parameters() if p.requires_grad and id(p) not in reached]


@contextmanager
def _first_outputs(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the first tensor of each of the model's outputs."""
    outputs: list[Tensor] = []
    handle = model.register_forward_hook(lambda _, args, output: outputs.append(next(tensors_in(output)).detach()))
    try:
        yield outputs
    finally:
        handle.remove()


@contextmanager
def _sites_in_order_of_calls(task: Task) -> Iterator[None]:
    """Sort the sites by their first call in the block; those that are not called come last."""
    called: dict[str, int] = {}

    def note(path: str) -> None:
        called.setdefault(path, len(called))

    norms = [(site.path, task.model.get_submodule(site.path)) for site in task.sites]
    handles = [norm.register_forward_pre_hook(lambda *_, path=path: note(path)) for path, norm in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    task.sites.sort(key=lambda site: called.get(site.path, len(called)))
    if idle := [site.path for site in task.sites if site.is_replaced and site.path not in called]:
        log.warning(
            "%d of %d norms that were replaced are not called for a first batch, so they do nothing: %s",
            *(len(idle), task.norms_replaced, name_paths(idle)),
        )


def _check_padding(task: Task, *outputs: Tensor) -> None:
    """Compare the outputs (B, T, H) of the first example in its batch and alone; other shapes have no padding."""
    if len(outputs) != 2 or any(output.dim() != 3 for output in outputs):
        return
    together, alone = outputs[0][:1, : outputs[1].shape[1]], outputs[1]
    if together.shape != alone.shape:
        return
    largest = float(alone.abs().nan_to_num(posinf=0).max())
    if not torch.allclose(together, alone, rtol=0, atol=_TOLERANCE * largest, equal_nan=True):
        difference = float((together - alone).abs().max()) / largest
        raise InputError(
            f"{task.model_label} reads padding: its outputs for an example change by {difference:.0e} (of the largest) "
            "when a longer one is in the batch, so a score would depend on the batch size; use a model that reads the "
            "attention mask, such as bert, or no padding: data.batch_tokens null, data.batch_size 1 and "
            "data.eval_batch_factor 1"
        )


def _reached(loss: Tensor) -> set[int]:
    """Return the ids of the tensors that get a gradient from a loss."""
    nodes: list[Any] = [loss.grad_fn]
    seen: set[Any] = set()
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            nodes += [parent for parent, _ in node.next_functions]
    return {id(node.variable) for node in seen if hasattr(node, "variable")}
