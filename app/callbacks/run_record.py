"""RunRecord: the run folder's account of the run.

Writes config.yaml, data_spec.json and norm_sites.csv at the start; train/loss, lr, tokens_per_s, elapsed_s and the
scores of each validation to metrics.jsonl while it runs; result.json and the pictures at the end, however it ends.

Keys written: `train/loss` (nats per unit, mean since the last such line, without label smoothing),
`train/smoothed_loss` (with it, where there is some), `lr`, `tokens_per_s`, `elapsed_s`, and the scores of the task
under `val/` and `train_probe/`. Those of the test stand in result.json; the texts that they are of, where a task
predicts texts, in test_source.txt, test_hypothesis.txt and test_reference.txt.
"""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from app.callbacks.checkpoints import StoppedError
from app.callbacks.divergence import DivergedError
from app.callbacks.result import build_result, write_result
from app.callbacks.steps import is_optimizer_step
from app.errors import InputError
from app.figures import draw_curves, draw_norm_gradients, draw_norm_parameters
from app.runs.atomic_write import atomic_write
from app.runs.folder import write_data_spec
from app.runs.metrics_file import Event, MetricsFile, log_event, read_events

_KEY = "run_record"  # of a checkpoint


class RunRecord(Callback):
    """Keeps the record of one fit, and of the test that ends it.

    Args:
        config: text of config.yaml, with which the same run can be made again.
        data_spec: what predict must know of the training data.
        identity: task, dataset, norm and seed, as result.json gives them.
        data_fingerprint: digest of the examples.
        plan_fingerprint: digest of the batch plan.
        allow_world_size_change: resume from a checkpoint of another number of processes; the updates are then the same
            but for the order of additions, and dropout is not the same.
        plots: draw them.
    """

    def __init__(
        self,
        config: str,
        data_spec: dict[str, Any],
        identity: dict[str, Any],
        data_fingerprint: str,
        plan_fingerprint: str,
        allow_world_size_change: bool = False,
        plots: bool = True,
    ) -> None:
        self.config, self.data_spec = config, data_spec
        self.allow_world_size_change = allow_world_size_change
        self.plots = plots
        self.identity = identity
        self.fingerprints = {"data": data_fingerprint, "plan": plan_fingerprint}
        self.result: dict[str, Any] | None = None
        self.tested = "best checkpoint"  # which weights the test is of
        self._elapsed_before_s = 0.0
        self._tokens = 0
        self._started_at = self._line_at = time.monotonic()
        self._line_tokens = 0
        self._event: Event | None = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep what a resumed run goes on from, and what it must agree with; called on all processes."""
        checkpoint[_KEY] = {
            "agrees": self._resume_identity(trainer),
            "elapsed_s": self._elapsed_s(),
            "tokens": _summed(trainer, self._tokens),
            "train_totals": pl_module.train_totals(),
            "event": next((logger.last for logger in trainer.loggers if isinstance(logger, MetricsFile)), None),
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Go on counting, if this run is the one that the checkpoint is of.

        Raises:
            InputError: naming what differs: norm, data, batch plan, seed, or the number of processes.
        """
        if trainer.state.fn != "fit":
            return
        saved = checkpoint.get(_KEY)
        if saved is None:
            raise InputError("the checkpoint is not of a run of train.py; start a new run without --ckpt_path")
        for what, now in self._resume_identity(trainer).items():
            then = saved["agrees"].get(what)
            if then != now and not (what == "processes" and self.allow_world_size_change):
                hint = ", or --allow_world_size_change true" if what == "processes" else ""
                raise InputError(
                    f"the checkpoint was written with {what} {then}, this run has {now}; go on with the same{hint}, "
                    "or start a new run without --ckpt_path"
                )
        self._elapsed_before_s, self._event = saved["elapsed_s"], saved["event"]
        if trainer.is_global_zero:  # sums over all processes go on in one of them
            self._tokens = self._line_tokens = saved["tokens"]
            pl_module.restore_train_totals(saved["train_totals"])

    def _resume_identity(self, trainer: Trainer) -> dict[str, Any]:
        """What a checkpoint and the run that goes on from it must have in common."""
        identity = self.identity
        return {
            "norm": f"{identity['norm_signature']} at sites {identity['sites_label']}",
            "seed": identity["seed"],
            "data": f"{identity['dataset']} {self.fingerprints['data']}",
            "batch plan": f"{self.fingerprints['plan']}, {trainer.accumulate_grad_batches} batches an update",
            "processes": trainer.world_size,
        }

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what is known before the first step, and drop events after the checkpoint's."""
        self._started_at = self._line_at = time.monotonic()
        if trainer.is_global_zero and not trainer.fast_dev_run:
            folder = Path(trainer.default_root_dir)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "result.json").unlink(missing_ok=True)  # of an attempt that this one goes on from
            with atomic_write(folder / "config.yaml") as part:
                part.write_text(self.config, encoding="utf-8")
            write_data_spec(folder, self.data_spec)
            with atomic_write(folder / "norm_sites.csv") as part, open(part, "w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, list(pl_module.site_rows[0]) if pl_module.site_rows else ["path"])
                writer.writeheader()
                writer.writerows(pl_module.site_rows)
        for logger in trainer.loggers:
            if isinstance(logger, MetricsFile):
                logger.truncate_to(self._event)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count tokens; a line of metrics at every `trainer.log_every_n_steps` updates."""
        self._tokens += batch.tokens
        if not is_optimizer_step(trainer, batch_idx) or trainer.global_step % trainer.log_every_n_steps:
            return
        now = time.monotonic()
        log_event(
            trainer,
            {
                **pl_module.take_train_scores(),
                "lr": trainer.optimizers[0].param_groups[0]["lr"],
                "tokens_per_s": (self._tokens - self._line_tokens) * trainer.world_size / (now - self._line_at),
                "elapsed_s": self._elapsed_s(),
            },
        )
        self._line_at, self._line_tokens = now, self._tokens

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the time: validation does not count into tokens_per_s."""
        self._validation_at = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A line of scores."""
        self._line_at += time.monotonic() - self._validation_at
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            log_event(trainer, pl_module.scores)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the result of a run that came to its end, so far without a test."""
        self._finish(trainer, pl_module, "finished")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Complete the result by the scores of the best checkpoint on the test set."""
        if self.result is not None and trainer.is_global_zero:
            folder = Path(trainer.default_root_dir)
            self.result["test"] = {key.removeprefix("test/"): score for key, score in pl_module.scores.items()}
            self.result["tested"], self.result["score_signatures"] = self.tested, pl_module.score_signatures
            for name, lines in pl_module.test_texts.items():
                with atomic_write(folder / f"test_{name}.txt") as part:
                    part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            write_result(folder, self.result)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write the result of a run that diverged or was interrupted."""
        if trainer.state.fn == "fit" and isinstance(exception, (DivergedError, StoppedError)):
            self._finish(trainer, pl_module, "diverged" if isinstance(exception, DivergedError) else "stopped")

    def _finish(self, trainer: Trainer, pl_module: LightningModule, status: str) -> None:
        tokens = _summed(trainer, self._tokens)
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        folder = Path(trainer.default_root_dir)
        events, sites = read_events(folder), [site.path for site in pl_module.sites]
        self.result = build_result(
            identity=self.identity,
            norm={**pl_module.norm.to_dict(), "replaced": len(pl_module.sites), "total": pl_module.norms_total},
            status=status,
            step=trainer.global_step,
            primary={"name": pl_module.primary.name, "mode": pl_module.primary.mode},
            metrics=pl_module.metrics,
            sites=sites,
            steps_an_epoch=-(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches),
            events=events,
            cost={
                "elapsed_s": self._elapsed_s(),
                "tokens": tokens,
                "parameters": sum(p.numel() for p in pl_module.parameters()),
                "processes": trainer.world_size,
            },
            fingerprints={**self.fingerprints, "weights": pl_module.initial_weights},
        )
        write_result(folder, self.result)
        if not self.plots:
            return
        title, best = self.result["signature"], self.result["best"]
        best_step = best["step"] if best else None
        draw_curves(events, pl_module.metrics, title, folder / "curves.svg", pl_module.twin_axes, best_step)
        draw_norm_gradients(events, sites, title, folder / "norm_gradients.svg")
        draw_norm_parameters(events, sites, title, folder / "norm_parameters.svg")

    def _elapsed_s(self) -> float:
        return self._elapsed_before_s + time.monotonic() - self._started_at


def _summed(trainer: Trainer, count: int) -> int:
    """A count, added over all processes."""
    return int(trainer.strategy.reduce(torch.tensor(count, device=trainer.strategy.root_device), reduce_op="sum"))
