"""Kill a real run with SIGKILL at random moments, go on each time, and compare with a run that was never touched.

    python -m tests.stress.kill_and_resume --kills 10

The run is train.py on data made here: several epochs, batches accumulated, a checkpoint every few updates. Some kills
wait for the moment at which a checkpoint is being written. At the end weights, optimizer, metrics.jsonl, best.ckpt and
result.json (times left out) must be equal bit for bit; the exit status is 1 if anything is not.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from tests.exactness.compare import differences

ROOT = Path(__file__).parent.parent.parent
WORDS = [f"word{number}" for number in range(300)]
SETTINGS = [
    "--trainer.max_epochs=8", "--trainer.accumulate_grad_batches=2", "--trainer.log_every_n_steps=3",
    "--checkpoint_every_steps=4", "--data.batch_tokens=256", "--data.val_fraction=0.15", "--patience=7",
    "--model.backbone.options.num_hidden_layers=2", "--trainer.accelerator=cpu",
]  # fmt: skip


def write_data(folder: Path) -> None:
    """Sentences of two classes that some words tell apart."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, suffix in enumerate(("neg", "pos")):
        favoured = WORDS[number::2]
        lines = []
        for sentence in range(350):
            words = [*rng.choice(WORDS, size=rng.integers(3, 20)), *rng.choice(favoured, size=3)]
            lines.append(" ".join(words) + f" {suffix}{sentence}")
        (folder / f"made.{suffix}").write_text("\n".join(lines) + "\n", encoding="utf-8")


def start(root: Path, data: Path, *more: str) -> subprocess.Popen[bytes]:
    """train.py fit, as a person would type it."""
    command = [
        sys.executable,
        str(ROOT / "train.py"),
        "fit",
        "--config",
        str(ROOT / "configs/quickstart.yaml"),
        *SETTINGS,
    ]
    command += [f"--data.source={data}", f"--data.cache_dir={data.parent / 'cache'}", f"--run_root={root}", *more]
    with open(root.parent / f"{root.name}.log", "ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})


def run_folder(root: Path) -> Path:
    """Where the run of this study stands."""
    return root / "classification" / "rt" / "bert-2x128" / "adanorm(k=0.1,scale=1)" / "seed1"


def kill_somewhere(process: subprocess.Popen[bytes], run: Path, longest_s: float, rng: random.Random) -> str | None:
    """Kill the process at a random moment; say where it was, or None if it had finished before."""
    at_write = rng.random() < 0.4
    earliest = time.monotonic() + rng.uniform(0, 0.8 * longest_s)
    partial = run / "checkpoints" / ".last.ckpt.tmp.part"
    while process.poll() is None and (time.monotonic() < earliest or (at_write and not partial.exists())):
        time.sleep(0.0005 if at_write else 0.005)
    if process.poll() is not None:
        return None
    process.send_signal(signal.SIGKILL)
    process.wait()
    if partial.exists():
        return "while a checkpoint was written"
    if (run / "result.json").exists():
        return "after training"
    if not (run / "metrics.jsonl").exists():
        return "before the first step"
    return "in training or validation"


def main() -> int:
    """Run the comparison; 0 if the killed run is the untouched one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10, help="how often the run is killed")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder / "data")
        began = time.monotonic()
        if start(folder / "untouched", folder / "data").wait() != 0:
            print((folder / "untouched.log").read_text(), file=sys.stderr)
            return 1
        longest_s = time.monotonic() - began
        run = run_folder(folder / "killed")
        places: Counter[str] = Counter()
        finished = 0
        while sum(places.values()) < arguments.kills:
            more = ["--ckpt_path=last"] if run.exists() else []
            place = kill_somewhere(start(folder / "killed", folder / "data", *more), run, longest_s, rng)
            if place is None:  # it came to its end: begin another victim
                found = differences(run_folder(folder / "untouched"), run)
                if found:
                    return report(places, found)
                finished += 1
                run.rename(run.with_name(f"finished{finished}"))
                continue
            places[place] += 1
            print(f"kill {sum(places.values())}: {place}", flush=True)
        status = start(folder / "killed", folder / "data", *(["--ckpt_path=last"] if run.exists() else [])).wait()
        if status != 0:
            print((folder / "killed.log").read_text(), file=sys.stderr)
            return 1
        return report(places, differences(run_folder(folder / "untouched"), run))


def report(places: Counter[str], found: list[str]) -> int:
    """Print where the kills fell and what differs."""
    for place, count in places.most_common():
        print(f"{count:3d} {place}")
    print("equal bit for bit" if not found else f"{len(found)} differences:\n  " + "\n  ".join(found[:20]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
