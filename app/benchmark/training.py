"""How fast `fit` is against a bare loop and against Hugging Face's Trainer, and where its time goes."""

from __future__ import annotations

import importlib.util
import os
import platform
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from app.benchmark import hf_trainer
from app.benchmark.fit import CLASSIFICATION, read, run_fit, time_fit
from app.benchmark.tables import Row, spread
from app.errors import InputError


def machine() -> str:
    """What the benchmark is running on: versions and device."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{len(os.sched_getaffinity(0))} CPU cores"
    return f"torch {torch.__version__}, Python {platform.python_version()}, {device}"


def against_bare_loop(configs: Sequence[str], arguments: Sequence[str], blocks: int, updates: int) -> Iterator[Row]:
    """Time each config's fit, with its default callbacks, against a bare loop over the same batches."""
    for config in configs:
        found = time_fit(config, arguments, blocks, updates)
        cells = {
            "config": Path(config).stem,
            "updates per block": found.updates,
            "updates/s": found.updates_s.median,
            "units/s": found.tokens_s.median,
            "unit": found.unit,
            "fit / bare loop": found.ratio,
            **{f"{phase} %": 100 * share for phase, share in found.phases.items()},
            "GiB": found.peak_gib,
            "first update after s": found.first_step_s,
        }
        yield Row("training", cells)


def check_trainer() -> None:
    """Check, before anything is timed, that what Hugging Face's Trainer needs is installed.

    Raises:
        InputError: without accelerate.
    """
    if importlib.util.find_spec("accelerate") is None:
        raise InputError(
            f"Hugging Face's Trainer needs accelerate: pip install {hf_trainer.REQUIREMENT}, or skip it: --repeats 0"
        )


def against_trainer(arguments: Sequence[str], repeats: int) -> Iterator[Row]:
    """Time an epoch of the quickstart by fit and by Hugging Face's Trainer."""
    fits, ratios = [], []
    flags = [*arguments, "--trainer.max_epochs=1"]
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as root:
            run_fit(CLASSIFICATION, flags, "app.benchmark.hf_trainer.TrainerEpoch", {}, Path(root))
            found = read(Path(root), hf_trainer.FILE_NAME)
        assert found is not None, "fit has ended well, and its epoch has a last batch"
        fits.append(found["fit"])
        ratios.append(found["trainer"] / found["fit"])
    cells = {"an epoch of": Path(CLASSIFICATION).stem, "fit s": spread(fits), "Trainer / fit": spread(ratios)}
    yield Row("trainer", cells | {"runs": repeats})
