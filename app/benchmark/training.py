"""How fast `fit` is: against a bare loop, against Hugging Face's Trainer, and where its time goes."""

from __future__ import annotations

import importlib.util
import os
import platform
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from app.benchmark import hf_trainer
from app.benchmark.fit import CLASSIFICATION, read, run_fit, spread, time_fit
from app.benchmark.phases import PHASES
from app.errors import InputError


def machine() -> str:
    """What the figures were measured on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{len(os.sched_getaffinity(0))} CPU cores"
    return f"torch {torch.__version__}, Python {platform.python_version()}, {device}"


def against_bare_loop(configs: Sequence[str], arguments: Sequence[str], blocks: int, updates: int) -> Iterator[str]:
    """Lines of a table: each config's fit with default callbacks, beside a bare loop over the same batches."""
    yield (
        "| config | of a block | updates/s | tokens/s | fit / bare loop | "
        + " | ".join(PHASES)
        + " | GiB | first update after |"
    )
    yield "|---" * (7 + len(PHASES)) + "|"
    for config in configs:
        found = time_fit(config, arguments, blocks, updates)
        shares = " | ".join(f"{100 * found.phases[phase]:.1f} %" for phase in PHASES)
        yield (
            f"| {Path(config).stem} | {found.updates} | {found.updates_s.median:.3g} | {found.tokens_s.median:,.0f} | "
            f"{found.ratio} | {shares} | {found.peak_gib:.2f} | {found.first_step_s:.1f} s |"
        )


def check_trainer() -> None:
    """Ask for what Hugging Face's Trainer needs before anything is timed.

    Raises:
        InputError: without accelerate.
    """
    if importlib.util.find_spec("accelerate") is None:
        raise InputError(
            f"Hugging Face's Trainer needs accelerate: pip install {hf_trainer.REQUIREMENT}; --repeats 0 leaves it out"
        )


def against_trainer(arguments: Sequence[str], repeats: int) -> Iterator[str]:
    """A line: seconds of an epoch of RT by Hugging Face's Trainer over those of fit."""
    fits, ratios = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as root:
            run_fit(
                CLASSIFICATION,
                [*arguments, "--trainer.max_epochs=1"],
                "app.benchmark.hf_trainer.TrainerEpoch",
                {},
                Path(root),
            )
            found = read(Path(root), hf_trainer.FILE_NAME)
        assert found is not None, "fit has ended well, and its epoch has a last batch"
        fits.append(found["fit"])
        ratios.append(found["trainer"] / found["fit"])
    yield (
        f"An epoch of {Path(CLASSIFICATION).stem}: fit {spread(fits)} s; Hugging Face's Trainer, by default, takes "
        f"{spread(ratios)} times as long ({repeats} runs)."
    )
