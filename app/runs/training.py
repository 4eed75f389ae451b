"""What decides what a run trained, besides its norm, its placement and its seeds: the `training` of result.json.

Fingerprints prove that two runs saw the same examples in the same batches from the same weights; this mapping tells
whether they made the same of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from pytorch_lightning import Trainer

from app.runs.result import package_versions

NOT_OF_THE_DATA = ("data.workers", "data.cache_dir", "data.predict_")  # they change no example and no batch
_OF_THE_RUN = ("patience", "average_checkpoints", "compile")
_SEEDS = ("init", "order", "dropout")
_NOT_TRAINED = (  # settings of the trainer that only show or write, and what it finds of itself
    *("callbacks", "logger", "plugins", "profiler", "fast_dev_run", "barebones", "detect_anomaly", "inference_mode"),
    *("enable_checkpointing", "enable_progress_bar", "enable_model_summary", "enable_autolog_hparams"),
    *("log_every_n_steps", "num_sanity_val_steps", "limit_predict_batches", "default_root_dir", "model_registry"),
    *("use_distributed_sampler", "accelerator", "devices", "num_nodes", "strategy"),
)


def training_settings(settings: Mapping[str, Any], trainer: Trainer) -> dict[str, Any]:
    """The settings that decide what a run trained and scored, as one mapping from names of flags.

    Sources of data are not among them, for the data's fingerprint is of their content.

    Args:
        settings: the merged settings of the run, as config.yaml has them.
        trainer: as it understood its own settings: its precision is never null.

    Returns:
        Plain types by name: all of `model.` and `data.`, those of `trainer.`, also of its callbacks; `versions.` of
        this project and of the libraries that compute; `device`, "cpu" or the name of the GPU; `processes`; `strategy`.
    """
    found = {name: value for group in ("model", "data") for name, value in flat(group, settings[group])}
    found = {
        name: value
        for name, value in found.items()
        if not name.startswith(NOT_OF_THE_DATA) and not (name.startswith("data.") and name.endswith(("source", "seed")))
    }
    for key, value in settings["trainer"].items():
        if key not in _NOT_TRAINED:
            understood = getattr(trainer, key, value)
            is_plain = understood is None or isinstance(understood, (int, float, str))
            found[f"trainer.{key}"] = understood if is_plain else str(understood)
    found |= callback_settings(settings)
    found |= {key: settings[key] for key in _OF_THE_RUN}
    versions = package_versions()
    found |= {f"versions.{package}": versions[package] for package in ("app", "torch", "transformers")}
    device = trainer.strategy.root_device
    return found | {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processes": trainer.world_size,
        "strategy": type(trainer.strategy).__name__,
    }


def seeds(settings: Mapping[str, Any]) -> dict[str, int]:
    """The seeds of a run by what they decide: `init` the weights, `order` the batches, `dropout`, `split` the splits.

    Args:
        settings: the merged settings of the run, as config.yaml has them.
    """
    own = {name: settings.get(f"{name}_seed") for name in _SEEDS}
    common = {name: settings["seed_everything"] if seed is None else seed for name, seed in own.items()}
    return {**common, "split": settings["data"]["init_args"].get("split_seed", 0)}


def callback_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the user's callbacks, `trainer.callbacks.<class>.<argument>`."""
    callbacks = settings["trainer"]["callbacks"] or []
    found = {}
    for callback in [callbacks] if isinstance(callbacks, Mapping) else callbacks:
        name = callback["class_path"].rpartition(".")[2]
        found |= dict(flat(f"trainer.callbacks.{name}", callback.get("init_args", {})))
    return found


def flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings by dotted names, without the `class_path` and `init_args` between."""
    if not isinstance(value, Mapping):
        yield name, value
        return
    for key, inner in value.items():
        yield from flat(name if key in ("class_path", "init_args") else f"{name}.{key}", inner)
