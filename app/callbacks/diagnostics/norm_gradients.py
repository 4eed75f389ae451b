"""NormGradients: what each norm does to the gradient that passes it, measured on real updates.

Keys written, for each site, at the first update and every `every_n_steps` updates:

    norm_grad/dy_mean, dy_var       mean and variance over H of the gradient that arrives, at y: after a gain or
                                    AdaNorm's factor, as in the paper's theorem
    norm_grad/dx_mean, dx_var       of the gradient that leaves at the norm's input, without any residual branch
    norm_grad/sigma                 of the norm's input
    norm_grad/recentring            |mean(dx)| / rms(dx)
    norm_grad/rescaling             var(dx) sigma^2 / var(dy)
    each also with _std             averages are over tokens; this is the standard deviation between tokens
    norm_grad/tokens                how many that were: all of the update that a gradient reached, over all processes
    norm_grad/mean_violation        largest distance of a token from the theorem's relation for the mean
    norm_grad/variance_violation    and for the variance; neither where the theorem does not speak of the norm

Gradients are those of the update's loss, a mean over its units: neither accumulation, the number of processes nor the
scale of mixed precision is in them.

In result.json: `norm_gradients`, see `gradient_summary`. Plot: norm_gradients.svg. It serves any LightningModule that
has norms of app.norms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from app.callbacks.diagnostics.gradient_statistics import (
    POWER_OF_SCALE,
    STATISTICS,
    VIOLATIONS,
    Moments,
    row_statistics,
)
from app.callbacks.diagnostics.norm_hooks import NormCall, NormHooks, is_due, norms_of
from app.callbacks.steps import is_optimizer_step
from app.figures import draw_norm_gradients
from app.runs.metrics_file import Event, log_event


class NormGradients(Callback):
    """Measures the gradients at each norm; the module docstring lists the keys.

    Args:
        every_n_steps: updates from one measurement to the next.
    """

    def __init__(self, every_n_steps: int) -> None:
        self.every_n_steps = every_n_steps
        self._watch: NormHooks | None = None
        self._moments: dict[str, Moments] = {}
        self._scale = 1.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the norms."""
        self._watch = NormHooks(norms_of(pl_module), self._add)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start to observe if a measurement is due."""
        assert self._watch is not None
        if not self._watch.is_on and is_due(trainer, self.every_n_steps):
            self._moments = {site: Moments(pl_module.device) for site in self._watch.norms}
            self._scale = gradient_scale(trainer)
            self._watch.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the measurement once the update has been made."""
        assert self._watch is not None
        if self._watch.is_on and is_optimizer_step(trainer, batch_idx):
            self._watch.stop()
            log_event(trainer, self._averages(trainer))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the hooks."""
        if self._watch is not None:
            self._watch.stop()

    def summary(self, events: Sequence[Event], result: dict[str, Any]) -> dict[str, Any]:
        """The last measurement and the largest violations, for result.json."""
        return {"norm_gradients": gradient_summary(events, self._sites)}

    def draw(self, events: Sequence[Event], result: dict[str, Any], folder: Path) -> None:
        """Draw re-centring, re-scaling and sigma of each norm, by depth and step."""
        draw_norm_gradients(events, self._sites, result["signature"], folder / "norm_gradients.svg")

    @property
    def _sites(self) -> list[str]:
        return list(self._watch.norms) if self._watch is not None else []

    def _add(self, norm_call: NormCall) -> None:
        self._moments[norm_call.site].add(row_statistics(norm_call))

    def _averages(self, trainer: Trainer) -> dict[str, float]:
        """Over all tokens of the update, on all processes."""
        sites = list(self._moments)
        sums = torch.stack([self._moments[site].sums for site in sites])  # (sites, 7, 3)
        largest = torch.stack([self._moments[site].largest for site in sites])  # (sites, 2)
        sums = trainer.strategy.reduce(sums, reduce_op="sum").cpu()
        largest = trainer.strategy.reduce(largest, reduce_op="max").cpu()
        averages: dict[str, float] = {}
        for site, of_site, worst in zip(sites, sums.tolist(), largest.tolist(), strict=True):
            for name, power, (count, total, squares) in zip(STATISTICS, POWER_OF_SCALE, of_site, strict=True):
                if not count:
                    continue
                mean, scale = total / count, self._scale**power
                averages[f"norm_grad/{name}/{site}"] = mean / scale
                deviation = math.sqrt(max(0.0, squares / count - mean**2))
                averages[f"norm_grad/{name}_std/{site}"] = deviation / scale
            averages[f"norm_grad/tokens/{site}"] = int(of_site[0][0])
            averages |= {
                f"norm_grad/{name}/{site}": value
                for name, value in zip(VIOLATIONS, worst, strict=True)
                if math.isfinite(value)
            }
        return averages


def gradient_scale(trainer: Trainer) -> float:
    """By what gradients within the model are larger than those of the update's loss.

    The task gives each process's loss times their number, which DDP divides out when it averages the gradients of
    parameters; mixed precision in float16 scales the loss.
    """
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    return trainer.world_size * (float(scaler.get_scale()) if scaler is not None else 1.0)


def gradient_summary(events: Sequence[Event], sites: Sequence[str]) -> dict[str, Any]:
    """What result.json keeps: at the last measurement, averages over sites; over all, the largest violations.

    Args:
        events: events of a run in order.
        sites: paths of the norms.

    Returns:
        `step`, `recentring` and `rescaling` (means over sites) of the last measurement, and for mean and variance
        `{"largest", "site", "step"}` of the violation of the theorem; empty for a run that measured nothing, without
        the violations where the theorem does not speak.
    """
    measured = [event for event in events if any(f"norm_grad/tokens/{site}" in event for site in sites)]
    if not measured:
        return {}
    last = measured[-1]
    summary: dict[str, Any] = {"step": last["step"]}
    for name in ("recentring", "rescaling"):
        values = [value for site in sites if (value := last.get(f"norm_grad/{name}/{site}")) is not None]
        summary[name] = sum(values) / len(values) if values else None
    for name in VIOLATIONS:
        found = [
            {"largest": value, "site": site, "step": event["step"]}
            for event in measured
            for site in sites
            if (value := event.get(f"norm_grad/{name}/{site}")) is not None
        ]
        if found:
            summary[name] = max(found, key=lambda violation: violation["largest"])
    return summary
