"""RunFiles: what is known of a run before its first step: config.yaml, run.json, data_spec.json, norm_sites.csv."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning import Callback, Trainer

from app.callbacks.scored_module import ScoredModule
from app.runs.atomic_write import atomic_write
from app.runs.folder import write_data_spec
from app.runs.identity import RunIdentity
from app.runs.run_info import write_run_info


class RunFiles(Callback):
    """Writes these files when training starts, and hands the settings to all loggers as hyper-parameters, once.

    Args:
        config: text of config.yaml, which makes the same run again.
        identity: of the run.
        data_spec: what predict must know of the training data.
    """

    def __init__(self, config: str, identity: RunIdentity, data_spec: dict[str, Any]) -> None:
        self.config, self.identity, self.data_spec = config, identity, data_spec

    def on_train_start(self, trainer: Trainer, pl_module: ScoredModule) -> None:
        """Write them."""
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / "config.yaml") as part:
            part.write_text(self.config, encoding="utf-8")
        write_run_info(folder, self.identity, pl_module.primary)
        write_data_spec(folder, self.data_spec)
        rows = pl_module.site_rows
        with atomic_write(folder / "norm_sites.csv") as part, open(part, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]) if rows else ["path"])
            writer.writeheader()
            writer.writerows(rows)
        for logger in trainer.loggers:
            logger.log_hyperparams(yaml.safe_load(self.config))
