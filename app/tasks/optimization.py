"""The optimizer and the learning rate schedule of a config."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from app.backbones import norm_sites
from app.errors import InputError
from app.norms import NormRule

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OptimizerConfig:
    """How the weights are updated.

    Args:
        name: adam or adamw (weight decay decoupled from the gradient).
        lr: peak learning rate.
        betas: decay rates of Adam's two averages.
        eps: added to the root in Adam's denominator.
        weight_decay: applied to matrices only, not to biases and parameters of norms; a rule of the run's norm may set
            another for its norms.
        schedule: constant, linear (to 0), cosine (to 0) or inverse_sqrt, each after the warm-up.
        warmup_steps: number of updates over which the rate rises linearly.
        warmup_from: learning rate of the first update, from which it rises.
    """

    name: Literal["adam", "adamw"] = "adamw"
    lr: float = 3e-4
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.01
    schedule: Literal["constant", "linear", "cosine", "inverse_sqrt"] = "constant"
    warmup_steps: int = 0
    warmup_from: float = 0.0

    def __post_init__(self) -> None:
        for key in ("lr", "eps"):
            if not getattr(self, key) > 0:
                raise InputError(f"optimizer.{key} is {getattr(self, key)}; must be > 0")
        for key in ("weight_decay", "warmup_steps"):
            if getattr(self, key) < 0:
                raise InputError(f"optimizer.{key} is {getattr(self, key)}; must be >= 0")
        if not 0 <= self.warmup_from <= self.lr:
            raise InputError(
                f"optimizer.warmup_from is {self.warmup_from}; must be >= 0 and <= optimizer.lr, {self.lr}"
            )
        if not all(0 <= beta < 1 for beta in self.betas):
            raise InputError(f"optimizer.betas is {list(self.betas)}; must be two numbers >= 0 and < 1")
        if self.schedule == "inverse_sqrt" and self.warmup_steps == 0:
            raise InputError("optimizer.warmup_steps is 0; must be >= 1 with optimizer.schedule inverse_sqrt")

    @property
    def ends_with_run(self) -> bool:
        """Whether the schedule reaches its end at the last update, so that every rate depends on the run's length."""
        return self.schedule in ("linear", "cosine")


def parameter_groups(
    model: nn.Module, config: OptimizerConfig, norms: Sequence[tuple[nn.Module, NormRule]] = ()
) -> list[dict[str, Any]]:
    """Split the trainable parameters into a group with weight decay, one without, and one for each rule with its own.

    The parameters of norms have none, and neither have vectors and scalars, such as biases. The module that owns a
    parameter decides, not its name. A parameter that several modules share is listed once. Where a rule sets a weight
    decay or a factor of the learning rate, these hold for all parameters of its norms.

    Args:
        model: has the parameters.
        config: has the weight decay and the peak learning rate.
        norms: norms of the model with their rules.
    """
    decayed: dict[int, nn.Parameter] = {}
    plain: dict[int, nn.Parameter] = {}
    of_rules: dict[NormRule, dict[int, nn.Parameter]] = {rule: {} for _, rule in norms if rule.has_own_group}
    rules = {id(p): rule for norm, rule in norms if rule.has_own_group for p in norm.parameters()}
    of_norms = {id(p) for site in norm_sites(model) for p in site.module.parameters()}
    for parameter in model.parameters():
        if parameter.requires_grad:
            rule = rules.get(id(parameter))
            others = plain if id(parameter) in of_norms or parameter.ndim < 2 else decayed
            (others if rule is None else of_rules[rule])[id(parameter)] = parameter
    log.info(
        "weight decay %g on %s, none on %s%s",
        config.weight_decay, _describe(decayed), _describe(plain), "".join(_rules_in_words(norms)),
    )  # fmt: skip
    return [
        {"params": list(decayed.values()), "weight_decay": config.weight_decay},
        {"params": list(plain.values()), "weight_decay": 0.0},
        *(
            {
                "params": list(group.values()),
                "weight_decay": rule.weight_decay or 0.0,
                "lr": config.lr * rule.lr_multiplier,
            }
            for rule, group in of_rules.items()
        ),
    ]


def check_schedule(config: OptimizerConfig, total_steps: int | None) -> None:
    """Check that the length of the run is known if the schedule depends on it.

    Raises:
        InputError: for linear and cosine without it.
    """
    if config.ends_with_run and total_steps is None:
        raise InputError(
            f"optimizer.schedule is {config.schedule}, which reaches 0 at the last update; set trainer.max_epochs or "
            "trainer.max_steps"
        )


def build_optimizer(
    model: nn.Module,
    config: OptimizerConfig,
    total_steps: int | None,
    fused: bool = True,
    norms: Sequence[tuple[nn.Module, NormRule]] = (),
) -> tuple[Optimizer, LRScheduler]:
    """Build the optimizer and its scheduler, which is stepped once per update.

    Args:
        model: has the parameters.
        config: the settings.
        total_steps: updates of the whole run; linear and cosine reach 0 there.
        fused: use one kernel for all parameters, several times as fast as torch's default. It unscales the gradients
            of mixed precision itself, which is too late for clipping.
        norms: norms of the model with their rules, which may set their own weight decay and learning rate.

    Raises:
        InputError: as `check_schedule` does.
    """
    from transformers import get_scheduler  # here, because the import takes seconds, which --help should not

    check_schedule(config, total_steps)
    if total_steps is not None and config.warmup_steps >= total_steps:
        log.info(
            "optimizer.warmup_steps is %d, and the run has %d updates: the learning rate never reaches %g; lower "
            "optimizer.warmup_steps, or train longer",
            config.warmup_steps, total_steps, config.lr,
        )  # fmt: skip
    classes = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    optimizer = classes[config.name](
        parameter_groups(model, config, norms), lr=config.lr, betas=config.betas, eps=config.eps, fused=fused
    )
    name = "constant_with_warmup" if config.schedule == "constant" else config.schedule
    scheduler = get_scheduler(name, optimizer, config.warmup_steps, total_steps)
    if config.warmup_from and config.warmup_steps:
        schedules, floor = scheduler.lr_lambdas, config.warmup_from / config.lr

        def raised(schedule: Callable[[int], float], step: int) -> float:
            """The schedule as a share of the peak, raised to between the floor and the peak during the warm-up."""
            return floor + (1 - floor) * schedule(step) if step < config.warmup_steps else schedule(step)

        scheduler = LambdaLR(optimizer, [partial(raised, schedule) for schedule in schedules])
    return optimizer, scheduler


def _describe(group: dict[int, nn.Parameter]) -> str:
    return f"{len(group)} tensors ({sum(p.numel() for p in group.values()):,} numbers)"


def _rules_in_words(norms: Sequence[tuple[nn.Module, NormRule]]) -> Iterator[str]:
    """What each rule sets for the parameters of its norms, where it sets anything."""
    modules: dict[NormRule, list[nn.Module]] = {}
    for norm, rule in norms:
        if rule.has_own_group or rule.freeze:
            modules.setdefault(rule, []).append(norm)
    for rule, of_rule in modules.items():
        parts = []
        if rule.has_own_group:
            named = [entry for norm in of_rule for entry in norm.named_parameters() if entry[1].requires_grad]
            names = dict.fromkeys({"weight": "gain"}.get(name, name) for name, _ in named)
            decay = f"weight decay {rule.weight_decay:g}" if rule.weight_decay else "no weight decay"
            rate = "" if rule.lr_multiplier == 1 else f", learning rate x {rule.lr_multiplier:g}"
            constant = " (constant)" if rule.lr_multiplier == 0 else ""
            size = sum(p.numel() for _, p in named)
            parts.append(f"{decay}{rate}{constant} on {', '.join(names)} ({len(named)} tensors, {size:,} numbers)")
        if rule.freeze:
            parts.append(f"{' and '.join(rule.freeze)} frozen")
        yield f"; {rule.name} at {rule.sites_in_words}: {', '.join(parts)}"
