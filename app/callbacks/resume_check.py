"""ResumeCheck: a run is resumed only from a checkpoint of its own."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from app.errors import InputError
from app.runs.checkpoint_file import RUN_RECORD
from app.runs.identity import RunIdentity


class ResumeCheck(Callback):
    """Writes into each checkpoint what a run that resumes from it must have in common with it, and compares.

    Args:
        identity: of the run.
        fingerprints: digests of its data and its batch plan.
        allow_world_size_change: resume from a checkpoint of another number of processes; the updates are then the same
            except for the order of additions, and dropout differs.
    """

    def __init__(
        self, identity: RunIdentity, fingerprints: dict[str, str], allow_world_size_change: bool = False
    ) -> None:
        self.identity, self.fingerprints = identity, fingerprints
        self.allow_world_size_change = allow_world_size_change

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write it."""
        checkpoint.setdefault(RUN_RECORD, {})["agrees"] = self._resume_identity(trainer)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Compare.

        Raises:
            InputError: naming what differs: norm, data, batch plan, seed, or the number of processes.
        """
        if trainer.state.fn != "fit":
            return
        if RUN_RECORD not in checkpoint:
            raise InputError("the checkpoint is not of a run of train.py; start a new run without --ckpt_path")
        for what, now in self._resume_identity(trainer).items():
            then = checkpoint[RUN_RECORD]["agrees"].get(what)
            if then != now and not (what == "processes" and self.allow_world_size_change):
                hint = ", pass --allow_world_size_change true" if what == "processes" else ""
                raise InputError(
                    f"the checkpoint was written with {what} {then}, but this run has {now}; resume with the same"
                    f"{hint}, or start a new run without --ckpt_path"
                )

    def _resume_identity(self, trainer: Trainer) -> dict[str, Any]:
        identity = self.identity
        return {
            "norm": str(identity.norm),
            "seed": identity.seed,
            "data": f"{identity.dataset} {self.fingerprints['data']}",
            "batch plan": f"{self.fingerprints['plan']}, {trainer.accumulate_grad_batches} batches an update",
            "processes": trainer.world_size,
        }
