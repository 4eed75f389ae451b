"""The scores that the counts of the test examples add up to."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from sacrebleu.metrics import BLEU

from app.runs.examples_file import read_test_examples


def scores_of_examples(run: Path) -> dict[str, float]:
    """The loss, and what else the columns of test_examples.parquet give, from their sums alone."""
    examples = read_test_examples(run)
    assert examples is not None
    assert examples["index"].tolist() == list(range(len(examples["index"]))), "one row an example, in order"
    assert examples["index"].dtype == np.int64 and examples["nats"].dtype == np.float64
    total = {name: column.sum().item() for name, column in examples.items()}
    scores = {"loss": total["nats"] / total["units"]}
    if "correct" in total:
        scores["accuracy"] = total["correct"] / total["units"]
    if "words" in total:
        scores |= {name: total[name] / total["words"] for name in ("uas", "las")}
    if "sys_len" in total:
        lists = ([int(total[f"{kind}_{n}"]) for n in range(1, 5)] for kind in ("correct", "total"))
        lengths = (int(total["sys_len"]), int(total["ref_len"]))
        scores["bleu"] = BLEU.compute_bleu(*lists, *lengths, smooth_method="exp").score
    if set(total) == {"index", "nats", "units"}:
        scores["bpc"] = scores["loss"] / math.log(2)
    return scores
