"""NormParameters: where gains and biases go, and how AdaNorm's factor is distributed.

Keys written at the first update and every `every_n_steps` updates, by site unless said otherwise:

    norm_param/gain_distance        rms of weight - 1
    norm_param/bias_distance        rms of bias
    norm_param/<name>               a parameter that is neither, such as dyt's alpha and scalenorm's scale; its mean
    norm_param/update_share         share of the norm's parameters in the sum of squares of the whole update
    norm_param/gain_update_share    the same of all gains together, and bias_update_share of all biases: one number each
    norm_param/ky_mean, ky_std      of AdaNorm's k y over the tokens of the update and their features
    norm_param/ky_q01 ... ky_q99    quantiles of it: 1, 25, 50, 75 and 99 %
    norm_param/ky_beyond_share      how often 1 - k y <= 0, where the factor turns y around; by Chebyshev at most k^2

Plot: norm_parameters.svg. It serves any LightningModule that has norms of app.norms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from app.callbacks.diagnostics.norm_hooks import NormCall, NormHooks, is_due, norms_of
from app.callbacks.steps import is_optimizer_step
from app.figures import draw_norm_parameters
from app.norms import Norm
from app.norms.adanorm import AdaNorm
from app.runs.metrics_file import Event, log_event

_KINDS = {"weight": "gain", "bias": "bias"}
_QUANTILES = {"01": 0.01, "25": 0.25, "50": 0.5, "75": 0.75, "99": 0.99}
_BINS = 2000


class NormParameters(Callback):
    """Measures gains, biases and AdaNorm's factor; the module docstring lists the keys.

    Args:
        every_n_steps: updates from one measurement to the next.
    """

    def __init__(self, every_n_steps: int) -> None:
        self.every_n_steps = every_n_steps
        self._norms: dict[str, Norm] = {}
        self._has_parameters = False
        self._before: dict[str, Tensor] = {}
        self._watch: NormHooks | None = None
        self._factors: dict[str, FactorCounts] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the norms that have parameters or an adaptive factor."""
        self._norms = norms_of(pl_module)
        self._has_parameters = any(True for norm in self._norms.values() for _ in norm.parameters())
        adaptive = {site: norm for site, norm in self._norms.items() if isinstance(norm, AdaNorm)}
        self._watch = NormHooks(adaptive, self._add) if adaptive else None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start to observe if a measurement is due."""
        if self._watch is not None and not self._watch.is_on and is_due(trainer, self.every_n_steps):
            self._factors = {site: FactorCounts(norm, pl_module.device) for site, norm in self._watch.norms.items()}
            self._watch.start()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Remember the parameters, to measure the update."""
        if self._has_parameters and is_due(trainer, self.every_n_steps):
            self._before = {
                name: parameter.detach().clone()
                for name, parameter in pl_module.named_parameters()
                if parameter.requires_grad
            }

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the measurement once the update has been made."""
        if not is_optimizer_step(trainer, batch_idx):
            return
        found: dict[str, float] = {}
        if self._before:
            found |= distances(self._norms) | update_shares(pl_module, self._norms, self._before)
            self._before = {}
        if self._watch is not None and self._watch.is_on:
            self._watch.stop()
            counts = torch.stack([factor.counts for factor in self._factors.values()])
            counts = trainer.strategy.reduce(counts, reduce_op="sum").cpu()  # of all sites and processes at once
            for (site, factor), total in zip(self._factors.items(), counts, strict=True):
                found |= {f"norm_param/{name}/{site}": value for name, value in factor.statistics(total).items()}
        if found:
            log_event(trainer, found)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the hooks."""
        if self._watch is not None:
            self._watch.stop()

    def draw(self, events: Sequence[Event], result: dict[str, Any], folder: Path) -> None:
        """Draw gains, biases, their updates, and AdaNorm's factor."""
        draw_norm_parameters(events, list(self._norms), result["signature"], folder / "norm_parameters.svg")

    def _add(self, norm_call: NormCall) -> None:
        self._factors[norm_call.site].add(norm_call.x)


@torch.no_grad()
def distances(norms: dict[str, Norm]) -> dict[str, float]:
    """How far the parameters of each site are from those of no gain and no bias."""
    found = {}
    for site, norm in norms.items():
        for name, parameter in norm.named_parameters():
            if name in _KINDS:
                offset = parameter.double() - (1.0 if name == "weight" else 0.0)
                found[f"norm_param/{_KINDS[name]}_distance/{site}"] = float(offset.square().mean().sqrt())
            else:
                found[f"norm_param/{name}/{site}"] = float(parameter.double().mean())
    return found


@torch.no_grad()
def update_shares(pl_module: LightningModule, norms: dict[str, Norm], before: dict[str, Tensor]) -> dict[str, float]:
    """Shares of sites, and of all gains and all biases, in the sum of squares of an update.

    Args:
        pl_module: after the update.
        norms: by site.
        before: the trainable parameters before it, by name.
    """
    owner = {id(p): (site, name) for site, norm in norms.items() for name, p in norm.named_parameters()}
    squares: dict[str, float] = {f"norm_param/update_share/{site}": 0.0 for site in norms}
    updated = [(name, parameter) for name, parameter in pl_module.named_parameters() if name in before]
    norms_of_updates = torch.stack([torch.linalg.vector_norm(p - before[name]) for name, p in updated])
    sizes = norms_of_updates.double().square().tolist()  # the device is waited for once
    total = sum(sizes)
    for (_, parameter), square in zip(updated, sizes, strict=True):
        if id(parameter) in owner:
            site, own_name = owner[id(parameter)]
            squares[f"norm_param/update_share/{site}"] += square
            if own_name in _KINDS:
                key = f"norm_param/{_KINDS[own_name]}_update_share"
                squares[key] = squares.get(key, 0.0) + square
    if not total:  # a step that mixed precision skipped
        return {}
    return {key: square / total for key, square in squares.items()}


class FactorCounts:
    """The distribution of k y at one AdaNorm, as counts: |y| is at most sqrt(H - 1), which fixes the bins."""

    def __init__(self, norm: Norm, device: torch.device) -> None:
        assert isinstance(norm, AdaNorm)
        self.norm = norm
        self.bound = max(abs(norm.k) * math.sqrt(max(1, math.prod(norm.normalized_shape) - 1)), 1e-12)
        self.counts = torch.zeros(_BINS + 4, dtype=torch.float64, device=device)  # bins, number, beyond, sum, squares

    @torch.no_grad()
    def add(self, x: Tensor) -> None:
        """Count the k y of inputs (N, H)."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        variance, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
        ky = self.norm.k * (x - mean) * (variance + self.norm.eps).rsqrt()
        place = ((ky + self.bound) * (_BINS / (2 * self.bound))).long().clamp(0, _BINS - 1)
        bins = torch.bincount(place.flatten(), minlength=_BINS)  # histc refuses deterministic algorithms on a GPU
        wide = ky.double()
        sums = torch.stack([(ky >= 1).sum().double(), wide.sum(), wide.square().sum()])
        self.counts += torch.cat([bins.double(), sums.new_tensor([ky.numel()]), sums])

    def statistics(self, counts: Tensor) -> dict[str, float]:
        """Mean, deviation, quantiles (to a bin's width, 2 k sqrt(H - 1) / 2000) and how often 1 - k y <= 0.

        Args:
            counts: `counts` of one process or the sum of several.
        """
        number, beyond, total, squares = counts[_BINS:].tolist()
        if not number:
            return {}
        mean = total / number
        middles = (torch.arange(_BINS, dtype=torch.float64) + 0.5) * (2 * self.bound / _BINS) - self.bound
        reached = counts[:_BINS].cumsum(0) / number
        found = {
            f"ky_q{name}": float(middles[min(_BINS - 1, int(torch.searchsorted(reached, share)))])
            for name, share in _QUANTILES.items()
        }
        deviation = math.sqrt(max(0.0, squares / number - mean**2))
        return {"ky_mean": mean, "ky_std": deviation, **found, "ky_beyond_share": beyond / number}
