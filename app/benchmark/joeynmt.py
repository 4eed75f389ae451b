"""Translation against JoeyNMT: the same pairs as the same token ids, the same sizes, updates of as many tokens.

JoeyNMT needs older libraries, so it runs in an environment of its own, on files that fit writes for it, in which every
token is a word, t and its id.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning import Callback, LightningModule, Trainer

from app.benchmark.fit import read, run_fit
from app.benchmark.tables import Row, spread
from app.errors import InputError

CONFIG = "configs/translation/multi30k_en_de.yaml"
INSTALL = 'pip install joeynmt==2.3.0 "numpy<2" "protobuf<3.21" "setuptools<80" yapf importlib_metadata'
FILE_NAME = "joeynmt.json"
_DEV_PAIRS = 50  # JoeyNMT needs some, and never validates here
_LOGGED = 10  # updates between two lines of its log, the first of which are the warm-up of both
_RATE = re.compile(r"Tokens per Sec:\s*([\d.]+)")


class TargetTokens(Callback):
    """Times updates of fit, in target tokens per second, after writing JoeyNMT's files.

    Args:
        folder: for JoeyNMT's data and config.yaml.
        updates: timed updates.
        warmup: updates before them.
    """

    def __init__(self, folder: str, updates: int, warmup: int) -> None:
        self.folder, self.updates, self.warmup = Path(folder), updates, warmup
        self._tokens, self._began = 0, 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write JoeyNMT's files."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        for part, name, most in (("train", "train", None), ("val", "dev", _DEV_PAIRS)):
            split = data.splits[part]
            for side, suffix in ((split.source, "src"), (split.target, "trg")):
                lines = [" ".join(f"t{token}" for token in ids[:-1]) for ids in side.ids[:most]]  # it adds the end
                (self.folder / f"{name}.{suffix}").write_text("\n".join(lines) + "\n", encoding="utf-8")
        config = pl_module.model.config
        words = [f"t{token}" for token in range(config.vocab_size)]
        (self.folder / "vocabulary.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
        steps = self.updates + self.warmup
        settings = joeynmt_settings(self.folder, config, data.batch_tokens, pl_module.label_smoothing, steps)
        (self.folder / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count tokens after the warm-up."""
        if trainer.global_step == self.warmup:
            self._began = time.perf_counter()
        elif trainer.global_step > self.warmup:
            self._tokens += batch.target_tokens
        if trainer.global_step == self.warmup + self.updates:
            text = json.dumps({"tokens_s": self._tokens / (time.perf_counter() - self._began)}) + "\n"
            (Path(trainer.default_root_dir) / FILE_NAME).write_text(text, encoding="utf-8")
            trainer.should_stop = True


def joeynmt_settings(folder: Path, config: Any, batch_tokens: int, smoothing: float, updates: int) -> dict[str, Any]:
    """Return JoeyNMT's config.yaml for a model with the sizes of an mBART.

    Args:
        folder: folder of its data.
        config: config of the Hugging Face model.
        batch_tokens: tokens of the longer side, padding included.
        smoothing: label smoothing.
        updates: updates until it ends.
    """
    side = {"max_length": config.max_position_embeddings, "level": "word", "voc_file": str(folder / "vocabulary.txt")}

    def stack(layers: int, heads: int, inner: int) -> dict[str, Any]:
        return {
            "type": "transformer",
            "num_layers": layers,
            "num_heads": heads,
            "hidden_size": config.d_model,
            "ff_size": inner,
            "embeddings": {"embedding_dim": config.d_model, "scale": True},
            "dropout": config.dropout,
            "layer_norm": "pre",
        }

    return {
        "name": "same_sizes",
        "model_dir": str(folder / "model"),
        "use_cuda": False,
        "data": {
            "train": str(folder / "train"),
            "dev": str(folder / "dev"),
            "dataset_type": "plain",
            "src": {"lang": "src", **side},
            "trg": {"lang": "trg", **side},
        },
        "testing": {"beam_size": 1, "eval_metrics": ["bleu"]},
        "training": {
            "optimizer": "adamw",
            "learning_rate": 0.002,
            "scheduling": "warmupinversesquareroot",
            "clip_grad_norm": 1.0,
            "normalization": "tokens",
            "label_smoothing": smoothing,
            "batch_size": batch_tokens,
            "batch_type": "token",
            "epochs": 100,
            "updates": updates,
            "logging_freq": _LOGGED,
            "validation_freq": 10**9,
            "overwrite": True,
        },
        "model": {
            "tied_embeddings": True,
            "tied_softmax": True,
            "encoder": stack(config.encoder_layers, config.encoder_attention_heads, config.encoder_ffn_dim),
            "decoder": stack(config.decoder_layers, config.decoder_attention_heads, config.decoder_ffn_dim),
        },
    }


def against_joeynmt(python: str, arguments: Sequence[str], updates: int, repeats: int) -> Iterator[Row]:
    """Time fit and JoeyNMT in turns, in target tokens per second.

    Args:
        python: interpreter of an environment that has JoeyNMT.
        arguments: of train.py, such as --data.source FOLDER.
        updates: timed updates of each run.
        repeats: pairs of runs.

    Raises:
        InputError: for an interpreter without JoeyNMT, or what fit refuses.
    """
    try:
        found = subprocess.run([python, "-c", "import joeynmt"], capture_output=True, text=True).returncode
    except OSError as error:
        raise InputError(f"--python {python}: {error.strerror}; pass the interpreter of an environment") from error
    if found:
        raise InputError(f"--python {python} has no JoeyNMT; in an environment of its own: {INSTALL}")
    if os.sep in python:
        python = os.path.abspath(python)  # it is run in another folder; links stay, an environment's python is one
    ours, theirs = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as root:
            folder = Path(root)
            values = {"folder": root, "updates": updates, "warmup": _LOGGED}
            flags = [*arguments, "--trainer.max_epochs=1000"]
            run_fit(CONFIG, flags, "app.benchmark.joeynmt.TargetTokens", values, folder / "runs")
            timed = read(folder / "runs", FILE_NAME)
            if timed is None:
                raise InputError("the run ended before all updates; omit the flags that end it")
            ours.append(timed["tokens_s"])
            theirs.append(_rate(python, folder, updates))
    ratio = spread([our / their for our, their in zip(ours, theirs, strict=True)])
    cells = {"config": Path(CONFIG).stem, "fit tokens/s": spread(ours), "JoeyNMT tokens/s": spread(theirs)}
    yield Row("joeynmt", cells | {"fit / JoeyNMT": ratio, "runs": repeats, "updates per run": updates})


def _rate(python: str, folder: Path, updates: int) -> float:
    command = [python, "-m", "joeynmt", "train", str(folder / "config.yaml"), "--skip-test"]
    print("running JoeyNMT on the same data", file=sys.stderr, flush=True)
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    rates = [float(rate) for rate in _RATE.findall(done.stdout + done.stderr)]
    if done.returncode or len(rates) != 1 + updates // _LOGGED:
        words = [line for line in done.stderr.splitlines() if line.strip()]
        raise InputError(f"JoeyNMT ended with exit status {done.returncode}: {words[-1] if words else ''}")
    return statistics.harmonic_mean(rates[1:])
