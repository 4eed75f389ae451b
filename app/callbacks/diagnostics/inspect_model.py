"""InspectModel: inspects a model before its first step instead of training it, for `app.study inspect`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from app.callbacks.diagnostics.norm_checks import check_norms
from app.callbacks.diagnostics.norm_hooks import NormCall, NormHooks, norms_of
from app.norms import Norm

FILE_NAME = "inspection.json"
_FEW = 8  # examples on which it is checked that norms act: this costs one forward pass for each norm


class InspectModel(Callback):
    """Sends one training batch through the model and back, writes inspection.json into the run folder, ends the run.

    It holds: `loss` (nats per unit of the batch) and `tokens`; `parameters`, rows of module and count, and
    `norm_parameters`, how many of them are the norms' own; `sites`, for each norm its path, shape and size of x, sigma,
    output and gradients; `blocks`, for each repeated block, in the order of the forward pass, its path and the size of
    its output and of the gradient there; `drawing`, a line a block that says where its norms stand; `checks`, of each
    norm, the model's own included, what `NormCheck` says. Sizes are rms over tokens and features; gradients are of the
    update's loss.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Inspect in the precision of training, write the file, and stop before the first step."""
        batch = trainer.precision_plugin.convert_input(next(iter(trainer.train_dataloader)).to(pl_module.device))
        few = trainer.precision_plugin.convert_input(trainer.datamodule.first_examples(_FEW).to(pl_module.device))
        found = inspect_model(pl_module, batch, few, trainer.precision_plugin.forward_context)
        if trainer.is_global_zero:
            text = json.dumps(found, indent=2) + "\n"
            (Path(trainer.default_root_dir) / FILE_NAME).write_text(text, encoding="utf-8")
        trainer.should_stop = True


def inspect_model(
    task: LightningModule, batch: Any, few: Any, context: Callable[[], AbstractContextManager[Any]] = nullcontext
) -> dict[str, Any]:
    """What InspectModel writes; dropout is on, as in training, and no parameter keeps a gradient.

    Args:
        task: the model with its loss.
        batch: of training, on the model's device.
        few: some of its examples, to check on them whether the norms act.
        context: that the forward pass runs in, such as autocast.
    """
    norms = norms_of(task)
    sites: dict[str, dict[str, Any]] = {}
    blocks: list[dict[str, Any]] = []
    called: set[str] = set()
    every = {row["path"]: task.model.get_submodule(row["path"]) for row in task.site_rows}
    handles = [norm.register_forward_hook(lambda *_, path=path: called.add(path)) for path, norm in every.items()]
    handles += [norm.register_forward_hook(_record_site(path, sites)) for path, norm in norms.items()]
    handles += [block.register_forward_hook(_record(path, blocks)) for path, block in _blocks(task.model)]
    watch = NormHooks(norms, lambda norm_call: _add_gradients(norm_call, sites))
    watch.start()
    with context():
        loss = task.train_loss(batch)
    (loss.objective / batch.loss_denominator).backward()
    watch.stop()
    for handle in handles:
        handle.remove()
    with_gradient = {id(p) for p in task.parameters() if p.grad is not None and p.grad.any()}
    task.zero_grad()
    checks = check_norms(
        *(task, every, few, context), called=called, with_gradient=with_gradient, old_kinds=_old_kinds(task, every)
    )
    own = {id(p) for norm in norms.values() for p in norm.parameters()}
    return {
        "loss": float(loss.nats) / loss.units,
        "size": f"{batch.tokens:,} {batch.UNIT}",
        "parameters": _parameter_rows(task),
        "norm_parameters": sum(p.numel() for p in task.parameters() if id(p) in own),
        "sites": list(sites.values()),
        "blocks": blocks,
        "drawing": task.block_lines,
        "checks": [dataclasses.asdict(check) for check in checks],
        "checked_on": f"{few.tokens:,} {few.UNIT}",
    }


def _old_kinds(task: LightningModule, norms: dict[str, nn.Module]) -> dict[str, str]:
    """What was replaced by a norm that took over all of its parameters and has no other, where it was none of ours."""
    return {
        site.path: site.kind
        for site in task.sites
        if site.is_replaced and site.kind != "app.norms" and not site.dropped
        and set(site.copied) == dict(norms[site.path].named_parameters()).keys()
    }  # fmt: skip


def _record(path: str, blocks: list[dict[str, Any]]) -> Callable[[nn.Module, Any, Any], None]:
    def record(block: nn.Module, _: Any, output: Any) -> None:
        tensor = output if isinstance(output, Tensor) else next((t for t in output if isinstance(t, Tensor)), None)
        if tensor is None or not tensor.is_floating_point():
            return
        row: dict[str, Any] = {"path": path, "activation": _rms(tensor), "gradient": 0.0}
        blocks.append(row)
        if tensor.requires_grad:
            tensor.register_hook(lambda gradient: row.update(gradient=_rms(gradient)))

    return record


def _blocks(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules that a model repeats: children of its lists that are in no other list."""
    found: list[tuple[str, nn.Module]] = []
    for path, module in model.named_modules():
        if isinstance(module, (nn.ModuleList, nn.Sequential)) and not any(path.startswith(f"{p}.") for p, _ in found):
            found += [(f"{path}.{name}", child) for name, child in module.named_children()]
    return found


def _record_site(path: str, sites: dict[str, dict[str, Any]]) -> Callable[[nn.Module, Any, Tensor], None]:
    @torch.no_grad()
    def record(norm: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(norm, Norm)
        if path in sites:  # a norm that is used at several places: the first of them
            return
        rows = norm.features_last(given[0]).detach().float().flatten(-len(norm.normalized_shape))
        sites[path] = {
            "path": path,
            "shape": list(norm.normalized_shape),
            "input": _rms(rows),
            "sigma": float((rows.var(-1, correction=0) + norm.eps).sqrt().mean()),
            "output": _rms(output),
            "gradient_at_output": 0.0,
            "gradient_at_input": 0.0,
        }

    return record


def _add_gradients(norm_call: NormCall, sites: dict[str, dict[str, Any]]) -> None:
    sites[norm_call.site] |= {"gradient_at_output": _rms(norm_call.dy), "gradient_at_input": _rms(norm_call.dx)}


def _parameter_rows(task: LightningModule) -> list[dict[str, Any]]:
    """Counts by module, by its parts where one holds nearly all; what several share counts for the first."""
    seen: set[int] = set()
    rows = []
    for name, module in _parts(task, ""):
        own = {id(p): p for p in module if id(p) not in seen}
        seen |= own.keys()
        if own:
            trainable = sum(p.numel() for p in own.values() if p.requires_grad)
            rows.append({"module": name, "count": sum(p.numel() for p in own.values()), "trainable": trainable})
    return rows


def _parts(module: nn.Module, path: str) -> list[tuple[str, list[nn.Parameter]]]:
    """A module's children with their parameters, and its own; children that hold over 90 % of them, by theirs."""
    total = sum(p.numel() for p in module.parameters())
    parts: list[tuple[str, list[nn.Parameter]]] = []
    for name, child in module.named_children():
        below, count = f"{path}{name}", sum(p.numel() for p in child.parameters())
        if count > 0.9 * total and list(child.children()) and not isinstance(child, nn.ModuleList):
            parts += _parts(child, f"{below}.")
        else:
            parts.append((below, list(child.parameters())))
    return [*parts, (path.rstrip(".") or "task", list(module.parameters(recurse=False)))]


def _rms(tensor: Tensor) -> float:
    return float(tensor.detach().float().square().mean().sqrt())
