"""How the cost of training grows with layers, width and batch size, and what a second process brings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from app.benchmark.fit import CLASSIFICATION, time_fit
from app.benchmark.tables import Row

_MODEL = "--model.backbone.options."
_SIZES = {
    "layers 4, width 128, batches of 1,536 tokens": [],
    "layers 2": [f"{_MODEL}num_hidden_layers=2"],
    "layers 8": [f"{_MODEL}num_hidden_layers=8"],
    "width 64": [f"{_MODEL}hidden_size=64", f"{_MODEL}intermediate_size=256"],
    "width 256": [f"{_MODEL}hidden_size=256", f"{_MODEL}intermediate_size=1024"],
    "width 512": [f"{_MODEL}hidden_size=512", f"{_MODEL}intermediate_size=2048"],
    "batches of 384 tokens": ["--data.batch_tokens=384"],
    "batches of 6,144 tokens": ["--data.batch_tokens=6144"],
}


def size_scaling(arguments: Sequence[str], blocks: int, updates: int) -> Iterator[Row]:
    """Time the quickstart with one size changed per row, relative to the unchanged quickstart."""
    base = 0.0
    for label, flags in _SIZES.items():
        found = time_fit(CLASSIFICATION, [*arguments, *flags], blocks, updates, bare=False)
        base = base or found.tokens_s.median
        cells = {
            "quickstart": label,
            "tokens/s": found.tokens_s.median,
            "relative time per token": base / found.tokens_s.median,
            "updates/s": found.updates_s.median,
            "GiB": found.peak_gib,
        }
        yield Row("scaling", cells)


def processes(arguments: Sequence[str], blocks: int, updates: int) -> Iterator[Row]:
    """Time the same batches by one process and by two that share each batch (DDP, gloo on CPUs)."""
    cores = len(os.sched_getaffinity(0))
    one = ["--trainer.accelerator=cpu"]
    two = [*one, "--trainer.strategy=ddp", "--trainer.devices=2"]
    each = max(1, cores // 2)
    base = 0.0
    for number, threads, flags in ((1, each, one), (1, cores, one), (2, each, two)):
        found = time_fit(CLASSIFICATION, [*arguments, *flags], blocks, updates, bare=False, threads=threads)
        base = base or found.updates_s.median
        cells = {
            "processes": number,
            "threads each": threads,
            "updates/s": found.updates_s,
            "relative": found.updates_s.median / base,
        }
        yield Row("processes", cells)
