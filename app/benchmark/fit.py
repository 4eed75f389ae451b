"""Runs `train.py fit` as a user would, with a callback that times it, and reads what it wrote."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.benchmark import bare_loop
from app.benchmark.tables import Spread, spread
from app.errors import InputError
from app.installation import TRAIN

CLASSIFICATION, *OTHERS = CONFIGS = (
    "configs/quickstart.yaml",
    "configs/classification/mnist5k.yaml",
    "configs/translation/gettext_en_de.yaml",
    "configs/language_modeling/enwiki_sample.yaml",
    "configs/parsing/turkish.yaml",
)
_QUIET = ("--test_after_fit=false", "--trainer.limit_val_batches=1", "--checkpoint_every_steps=null")


@dataclass(frozen=True)
class FitFigures:
    """The measurements of a timed run.

    Args:
        updates: updates per block.
        updates_s: updates per second by fit.
        tokens_s: tokens (or what `unit` says) per second by fit.
        unit: what is counted: tokens, words, bytes or images.
        ratio: updates per second by fit over those of the bare loop, block by block; nan without a bare loop.
        phases: shares of fit's time.
        first_step_s: seconds from the command to the first update.
        peak_gib: peak resident memory of the process that wrote the result.
    """

    updates: int
    updates_s: Spread
    tokens_s: Spread
    unit: str
    ratio: Spread
    phases: dict[str, float]
    first_step_s: float
    peak_gib: float


def time_fit(
    config: str, arguments: Sequence[str], blocks: int, updates: int, bare: bool = True, threads: int | None = None
) -> FitFigures:
    """Time a config's fit and the bare loop.

    Args:
        config: path of the config.
        arguments: further arguments of train.py.
        blocks: timed blocks.
        updates: updates per block.
        bare: also time the bare loop.
        threads: threads of each process; torch's default is all cores.

    Raises:
        InputError: if the run fails, with its last line, or ends before all blocks.
    """
    values = {"updates": updates, "blocks": blocks, "launched_at": time.time(), "bare": str(bare).lower()}
    long = "--trainer.max_epochs=1000"  # the callback ends the run
    with tempfile.TemporaryDirectory() as root:
        run_fit(config, [*arguments, long], "app.benchmark.bare_loop.BareLoop", values, Path(root), threads)
        found, cost = read(Path(root), bare_loop.FILE_NAME), read(Path(root), "result.json")
    if found is None or cost is None:
        raise InputError(f"{config}: the run ended before {blocks + 1} blocks of updates; omit the flags that end it")
    return figures(found, cost["cost"])


def figures(found: dict[str, Any], cost: dict[str, Any]) -> FitFigures:
    """Compute the measurements from bare_loop.json and the cost of result.json."""
    ratios = [bare / fit for fit, bare in found["pairs"]]
    return FitFigures(
        updates=found["updates"],
        updates_s=spread([found["updates"] / fit for fit, _ in found["pairs"]]),
        tokens_s=spread([tokens / fit for tokens, (fit, _) in zip(found["tokens"], found["pairs"], strict=True)]),
        unit=found["unit"],
        ratio=Spread(math.nan, math.nan, math.nan) if any(map(math.isnan, ratios)) else spread(ratios),
        phases=found["phases"],
        first_step_s=found["first_step_s"],
        peak_gib=cost["peak_rss_bytes"] / 2**30,
    )


def run_fit(
    config: str,
    arguments: Sequence[str],
    callback: str,
    values: dict[str, Any],
    root: Path,
    threads: int | None = None,
) -> None:
    """Run fit with a callback of the benchmark, whose arguments are `values`, into a run root.

    Raises:
        InputError: if it fails, with its last line.
    """
    command = [*TRAIN, "fit", "--config", config, f"--run_root={root}", *_QUIET, *arguments]
    command += [f"--trainer.callbacks+={callback}"]
    command += [f"--trainer.callbacks.{key}={value}" for key, value in values.items()]
    print(f"{config} {' '.join(arguments)}", file=sys.stderr, flush=True)
    counts = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)} if threads else {}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **counts})
    if done.returncode:
        words = [line for line in done.stderr.splitlines() if line.strip()]
        last = words[-1].removeprefix("error: ") if words else ""
        raise InputError(f"{config}: fit ended with exit status {done.returncode}: {last}")


def read(root: Path, name: str) -> dict[str, Any] | None:
    """Read the one file of this name under a run root; None if there is none."""
    paths = list(root.rglob(name))
    if not paths:
        return None
    content: dict[str, Any] = json.loads(paths[0].read_text(encoding="utf-8"))
    return content
