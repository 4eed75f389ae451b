"""Compares the translations of two runs by sacrebleu's paired bootstrap over the sentences of the test set."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sacrebleu.metrics import BLEU
from sacrebleu.significance import PairedTest

from app.study.analysis.tables import Table
from app.study.plan import Trial, Variant
from app.study.trials import run_folder

_SAMPLES = 1000


@dataclass(frozen=True)
class SentenceTest:
    """BLEU of a norm in a placement and of the baseline on the same sentences, from runs with the same seed.

    `p_value` is sacrebleu's: how often a resampled test set differs by as much where there is no difference. It says
    whether these two models differ on such sentences, not whether their norms do with other seeds.
    """

    variant: Variant
    seed: int
    bleu: float
    baseline_bleu: float
    p_value: float

    @property
    def words(self) -> str:
        """The comparison in words."""
        return (
            f"{self.variant.label}, seed {self.seed}: BLEU {self.bleu:.2f}, the baseline's {self.baseline_bleu:.2f}, "
            f"p = {self.p_value:.3f}"
        )


def sentence_tests(table: Table, baseline: Variant) -> list[SentenceTest]:
    """A test for each variant and seed with translations of both; none where BLEU is not the primary metric."""
    if table.metric.name != "bleu":
        return []
    base_row = table.row(baseline)
    found = []
    for row in table.rows:
        for seed in sorted(row.results.keys() & base_row.results.keys()) if row.variant != baseline else []:
            ours, theirs = _texts(row.trials[seed]), _texts(base_row.trials[seed])
            if ours is None or theirs is None or ours["reference"] != theirs["reference"]:
                continue
            tokenizer = _tokenizer(row.results[seed])
            found.append(
                _test(row.variant, seed, ours["hypothesis"], theirs["hypothesis"], ours["reference"], tokenizer)
            )
    return found


def _test(
    variant: Variant, seed: int, ours: list[str], theirs: list[str], references: list[str], tokenizer: str
) -> SentenceTest:
    metric = BLEU(tokenize=tokenizer, references=[references])
    test = PairedTest([("baseline", theirs), ("norm", ours)], {"BLEU": metric}, None, "bs", _SAMPLES)
    _, scores = test()
    baseline, own = scores["BLEU"]
    same = ours == theirs  # where sacrebleu's p value is 0.001
    return SentenceTest(variant, seed, own.score, baseline.score, 1.0 if same else own.p_value)


def _texts(trial: Trial) -> dict[str, list[str]] | None:
    folder = run_folder(trial)
    paths = {name: Path(folder or "") / f"test_{name}.txt" for name in ("hypothesis", "reference")}
    if folder is None or not all(path.is_file() for path in paths.values()):
        return None
    return {name: path.read_text(encoding="utf-8").split("\n")[:-1] for name, path in paths.items()}


def _tokenizer(result: dict[str, Any]) -> str:
    """The tokenizer that the run's own BLEU was computed with, as sacrebleu's signature says."""
    found = re.search(r"tok:([\w-]+)", result["score_signatures"].get("bleu", ""))
    return found.group(1) if found else "13a"
