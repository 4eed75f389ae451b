"""How the cost of training grows: with layers, width and the size of a batch, and what a second process brings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from app.benchmark.fit import CLASSIFICATION, time_fit

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


def size_scaling(arguments: Sequence[str], blocks: int, updates: int) -> Iterator[str]:
    """Lines of a table: the quickstart, one thing changed a line, as a ratio to the quickstart as it is."""
    yield "| quickstart | tokens/s | time for a token, relative | updates/s | GiB |"
    yield "|---|---|---|---|---|"
    base = 0.0
    for label, flags in _SIZES.items():
        found = time_fit(CLASSIFICATION, [*arguments, *flags], blocks, updates, bare=False)
        base = base or found.tokens_s.median
        relative = base / found.tokens_s.median
        yield (
            f"| {label} | {found.tokens_s.median:,.0f} | {relative:.2f} | {found.updates_s.median:.3g} | "
            f"{found.peak_gib:.2f} |"
        )


def processes(arguments: Sequence[str], blocks: int, updates: int) -> Iterator[str]:
    """Lines of a table: the same batches by one process and by two that share each of them (DDP, gloo on CPUs)."""
    cores = len(os.sched_getaffinity(0))
    one = ["--trainer.accelerator=cpu"]
    two = [*one, "--trainer.strategy=ddp", "--trainer.devices=2"]
    each = max(1, cores // 2)
    yield "| processes | threads each | updates/s | relative |"
    yield "|---|---|---|---|"
    base = 0.0
    for number, threads, flags in ((1, each, one), (1, cores, one), (2, each, two)):
        found = time_fit(CLASSIFICATION, [*arguments, *flags], blocks, updates, bare=False, threads=threads)
        base = base or found.updates_s.median
        yield f"| {number} | {threads} | {found.updates_s} | {found.updates_s.median / base:.2f} |"
