"""The first twenty updates of every YAML, as numbers that two versions of the code can be compared by.

A refactoring changes no bit of any config's training. Three ways to see it:

    python -m tests.exactness.first_updates --against main      # both versions run here; any difference is named
    python -m tests.exactness.first_updates --write             # keep this version's numbers in first_updates.json
    python -m pytest tests/exactness/test_first_updates.py      # this version against the numbers that were kept

Bits are the same on processors of one kind alone, so the file of kept numbers says which kind they are of.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml

from app.cli.main import main
from tests.stand_ins import ROOT, tiny_data_arguments, write_bytes, write_images, write_texts, write_treebank

KEPT = Path(__file__).with_suffix(".json")
UPDATES = 20
CONFIGS = sorted(
    path.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.yaml") if "data" in yaml.safe_load(path.read_text())
)
_SIZES = {"d_model": 128, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 256, "decoder_ffn_dim": 256}
SMALL = tuple(f"--model.backbone.options.{name}={size}" for name, size in _SIZES.items())
SMALLER = {  # of the models that are meant for GPUs or for an hour, one layer of each stack: the others are the same
    "evb_en_vi": SMALL,
    "iwslt14_de_en": SMALL,
    "iwslt15_en_vi": SMALL,
    "multi30k_en_de": SMALL,
    "wmt14_en_de": SMALL,
    "enwik8": ("--model.backbone.options.n_layer=2",),
}


def processor() -> str:
    """What decides, with torch's version, in which order floating-point sums are taken."""
    vendor = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        of_line = {key.strip(): value.strip() for key, value in fields.items()}
        vendor = " ".join(of_line.get(key, "") for key in ("vendor_id", "cpu family", "model"))
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} {vendor} {capability}, torch {torch.__version__.partition('+')[0]}"


def write_sources(folder: Path) -> dict[str, Path]:
    """Tiny data of each kind, by name."""
    for name in ("texts", "images"):
        (folder / name).mkdir(parents=True)
    write_treebank(folder / "trees.conllu", 100)
    return {
        "tiny_texts": write_texts(folder / "texts"),
        "tiny_images": write_images(folder / "images"),
        "tiny_bytes": write_bytes(folder / "bytes"),
        "tiny_trees": folder / "trees.conllu",
    }


def measure(config: Path, folder: Path, sources: dict[str, Path]) -> dict[str, Any]:
    """Train a config for twenty updates on tiny data.

    Args:
        config: the YAML, relative to the project's root.
        folder: an empty one, for the run.
        sources: see `write_sources`.

    Returns:
        `losses`: train/loss of each update, in nats. `scores`: the validation behind the last one. `weights`: a
        digest of the state dict.
    """
    status = main(
        [
            *("fit", "--config", str(ROOT / config), *tiny_data_arguments(config, folder, sources)),
            *SMALLER.get(config.stem, ()),
            *(f"--run_root={folder / 'runs'}", "--data.workers=0", "--plots=false", "--test_after_fit=false"),
            *(f"--trainer.max_steps={UPDATES}", "--trainer.max_epochs=-1", "--trainer.log_every_n_steps=1"),
            *("--trainer.accumulate_grad_batches=1", "--trainer.limit_train_batches=2"),  # of an epoch: it ends on an
            *("--trainer.val_check_interval=1.0", "--trainer.check_val_every_n_epoch=10"),  # update that is validated
        ]
    )
    assert status == 0, f"{config} ended with exit status {status}"
    (run,) = (path.parent for path in (folder / "runs").rglob("result.json"))
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    digest = hashlib.sha256()
    weights = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    for name in sorted(weights):
        digest.update(name.encode() + weights[name].contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return {
        "losses": [event["train/loss"] for event in events if "train/loss" in event],
        "scores": {key: value for key, value in events[-1].items() if key.startswith(("val/", "train_probe/"))},
        "weights": digest.hexdigest(),
    }


def measure_all(folder: Path) -> dict[str, Any]:
    """All configs, with the kind of processor that they were measured on."""
    torch.set_num_threads(1)
    sources = write_sources(folder / "sources")
    found: dict[str, Any] = {"processor": processor(), "configs": {}}
    for config in CONFIGS:
        place = folder / config.with_suffix("").name
        place.mkdir()
        found["configs"][str(config)] = measure(config, place, sources)
    return found


def measure_version(version: str) -> dict[str, Any]:
    """What `measure_all` gives for another commit, by that commit's own script, on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        tree, written = Path(folder) / "tree", Path(folder) / "found.json"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(tree), version], cwd=ROOT, check=True)
        try:
            command = [sys.executable, "-m", "tests.exactness.first_updates", "--write", str(written)]
            subprocess.run(command, cwd=tree, check=True, stdout=subprocess.DEVNULL)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=True)
        return json.loads(written.read_text())


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two measurements, a line each; configs that only one of them has are passed over."""
    lines = []
    for config in sorted({*before["configs"]} & {*now["configs"]}):
        old, new = before["configs"][config], now["configs"][config]
        if old["losses"] != new["losses"]:
            step = next(i for i in range(UPDATES) if old["losses"][i : i + 1] != new["losses"][i : i + 1])
            lines.append(f"{config}: losses differ from update {step + 1} on")
        lines += [f"{config}: {key} differ" for key in ("weights", "scores") if old[key] != new[key]]
    return lines


def _main() -> int:
    parser = argparse.ArgumentParser(description="the first twenty updates of every YAML, against another version's")
    parser.add_argument("--against", help="a commit that has this script")
    parser.add_argument("--write", nargs="?", const=KEPT, type=Path, help="keep the numbers in a file")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        now = measure_all(Path(folder))
    if arguments.write:
        arguments.write.write_text(json.dumps(now, indent=1) + "\n")
    if not arguments.against:
        return 0
    found = differences(measure_version(arguments.against), now)
    print("\n".join(found) or f"{len(now['configs'])} configs: the same losses, scores and weights, bit for bit")
    return bool(found)


if __name__ == "__main__":
    sys.exit(_main())
