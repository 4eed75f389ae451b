"""ResumeCheck: a run is resumed only from a checkpoint of its own, and with the settings that make it what it is.

What may change and what may not is a table in docs/distributed_and_resuming.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from app.errors import InputError
from app.norms import NATIVE
from app.runs.checkpoint_file import RUN_RECORD
from app.runs.identity import RunIdentity
from app.runs.training import NOT_OF_THE_DATA, callback_settings, flat

_OF_A_STEP = (  # settings of the trainer that make an update, or a score, what it is
    "precision",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "limit_train_batches",
    "limit_val_batches",
)
_LENGTH = ("max_epochs", "max_steps")


class ResumeCheck(Callback):
    """Writes into each checkpoint what a run that resumes from it must have in common with it, and compares.

    Args:
        identity: of the run.
        fingerprints: digests of its data and its batch plan.
        settings: the merged settings of the run, as config.yaml has them.
        has_fixed_length: the learning rate of every update depends on the length of the run, which therefore stays.
        allow_world_size_change: resume from a checkpoint of another number of processes; the updates are then the same
            except for the order of additions, and dropout differs.
    """

    def __init__(
        self,
        identity: RunIdentity,
        fingerprints: dict[str, str],
        settings: Mapping[str, Any],
        has_fixed_length: bool,
        allow_world_size_change: bool = False,
    ) -> None:
        self.identity, self.fingerprints = identity, fingerprints
        self.settings, self.has_fixed_length = settings, has_fixed_length
        self.allow_world_size_change = allow_world_size_change

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write it."""
        checkpoint.setdefault(RUN_RECORD, {})["agrees"] = {
            **self._resume_identity(trainer),
            "settings": self._settings(trainer),
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Compare.

        Raises:
            InputError: naming all that differs, with its former and its present value.
        """
        if trainer.state.fn != "fit":
            return
        if RUN_RECORD not in checkpoint:
            raise InputError("the checkpoint is not of a run of train.py; start a new run without --ckpt_path")
        then = {"placement": NATIVE, **checkpoint[RUN_RECORD]["agrees"]}  # early checkpoints know no other
        now = self._resume_identity(trainer)
        changed = {what: (then.get(what), value) for what, value in now.items() if then.get(what) != value}
        settings = self._changed_settings(trainer, checkpoint)
        of_data = {name: values for name, values in settings.items() if name.startswith("data.")}
        if changed.keys() & {"data", "batch plan"}:
            if of_data or "trainer.accumulate_grad_batches" in settings:  # they say what a digest cannot
                changed = {what: values for what, values in changed.items() if what not in ("data", "batch plan")}
        else:
            settings = {name: values for name, values in settings.items() if name not in of_data}
        if self.allow_world_size_change:
            changed.pop("processes", None)
        if changed := changed | settings:
            listed = ", ".join(f"{what} was {_text(old)} and is {_text(new)}" for what, (old, new) in changed.items())
            why = ""
            if changed.keys() & {f"trainer.{key}" for key in _LENGTH}:
                why = " (the learning rate of every update depends on the length of the run)"
            hint = "; or pass --allow_world_size_change true" if "processes" in changed else ""
            raise InputError(
                f"the checkpoint is of a run with other settings: {listed}{why}; resume with the former ones{hint}, or "
                "start a new run without --ckpt_path"
            )

    def _changed_settings(self, trainer: Trainer, checkpoint: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Settings that both runs have, with different values; of callbacks only if their state is restored."""
        then, now = checkpoint[RUN_RECORD]["agrees"].get("settings", {}), self._settings(trainer)
        stateful = {key.partition("{")[0] for key in checkpoint.get("callbacks", {})}
        return {
            name: (then[name], value)
            for name, value in now.items()
            if name in then and then[name] != value and not name.startswith(NOT_OF_THE_DATA)
            if not name.startswith("trainer.callbacks.") or name.split(".")[2] in stateful
        }

    def _resume_identity(self, trainer: Trainer) -> dict[str, Any]:
        identity = self.identity
        return {
            "norm": str(identity.norm),
            "placement": str(identity.placement),
            "seed": identity.seed,
            **{f"{what}_seed": identity.departures.get(what) for what in ("init", "order", "dropout")},
            "data": f"{identity.dataset} {self.fingerprints['data']}",
            "batch plan": f"{self.fingerprints['plan']}, {trainer.accumulate_grad_batches} batches an update",
            "processes": trainer.world_size,
        }

    def _settings(self, trainer: Trainer) -> dict[str, Any]:
        """The settings by the names of their flags: all of model and data, and those of the trainer that must stay."""
        found = {name: value for group in ("model", "data") for name, value in flat(group, self.settings[group])}
        for key in (*_OF_A_STEP, *(_LENGTH if self.has_fixed_length else ())):
            value = getattr(trainer, key)
            found[f"trainer.{key}"] = value if value is None or isinstance(value, (int, float)) else str(value)
        return found | callback_settings(self.settings)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
