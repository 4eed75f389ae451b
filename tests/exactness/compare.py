"""What two runs must have in common to be the same run, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from app.runs.examples_file import FILE_NAME

TIMES = ("elapsed_s", "_per_s", "seconds_left")


def differences(first: Path, second: Path) -> list[str]:
    """What differs between two run folders, times and places left out; empty if they are the same run."""
    found = []
    for which in ("best", "last"):
        a, b = (torch.load(run / f"checkpoints/{which}.ckpt", weights_only=True) for run in (first, second))
        for key in ("epoch", "global_step", "state_dict", "optimizer_states", "lr_schedulers", "callbacks", "loops"):
            found += [f"{which}.ckpt {path}" for path in _unequal(a[key], b[key], key)]
    kept = [sorted(path.name for path in (run / "checkpoints").glob("weights-*")) for run in (first, second)]
    found += [f"kept weights {path}" for path in _unequal(*kept, "names")]
    for name in {*kept[0]} & {*kept[1]}:
        a, b = (torch.load(run / "checkpoints" / name, weights_only=True)["state_dict"] for run in (first, second))
        found += [f"{name} {path}" for path in _unequal(a, b, "state_dict")]
    texts = [{path.name: path.read_text() for path in run.glob("test_*.txt")} for run in (first, second)]
    found += [f"translations {path}" for path in _unequal(*texts, "file")]
    tested = [(run / FILE_NAME).exists() and (run / FILE_NAME).read_bytes() for run in (first, second)]
    found += [f"{FILE_NAME} of {first} and {second}"] if tested[0] != tested[1] else []
    found += [f"metrics.jsonl {path}" for path in _unequal(_events(first), _events(second), "line")]
    found += [f"result.json {path}" for path in _unequal(_result(first), _result(second), "")]
    return found


def _events(run: Path) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in event.items() if not key.endswith(TIMES)} for event in events]


def _result(run: Path) -> dict[str, Any]:
    result = json.loads((run / "result.json").read_text())
    result["cost"] = {
        key: value for key, value in result["cost"].items() if not key.endswith(TIMES) and key != "peak_rss_bytes"
    }
    return result


def _unequal(a: Any, b: Any, path: str) -> list[str]:
    """Paths at which two nests of plain types and tensors differ."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return [] if a.dtype == b.dtype and torch.equal(a, b) else [path]
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return [f"{path}: keys {sorted(map(str, a.keys() ^ b.keys()))}"]
        return [difference for key in a for difference in _unequal(a[key], b[key], f"{path}.{key}")]
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        if len(a) != len(b):
            return [f"{path}: {len(a)} against {len(b)}"]
        return [x for i, (p, q) in enumerate(zip(a, b, strict=True)) for x in _unequal(p, q, f"{path}[{i}]")]
    return [] if a == b else [f"{path}: {a!r} against {b!r}"]
