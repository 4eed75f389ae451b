"""BLEU and chrF of a whole set of translations over all processes, by sacrebleu."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sacrebleu.metrics import BLEU, CHRF


@dataclass(frozen=True, order=True)
class Translated:
    """A translated example: its position in the set and its three texts."""

    position: int
    source: str
    hypothesis: str
    reference: str


class TranslationScores:
    """Collects translations and scores them together: neither BLEU nor chrF is a mean over sentences.

    Texts are plain; sacrebleu tokenizes them (13a, or by the language). Scores are from 0 to 100.
    """

    def __init__(self) -> None:
        self._own: list[Translated] = []

    def update(self, examples: Sequence[Translated]) -> None:
        """Add examples of this process."""
        self._own.extend(examples)

    def collect(self) -> list[Translated]:
        """Return the examples of all processes in the order of the set, and forget them; call it on all processes."""
        own, self._own = self._own, []
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            shares: list[list[Translated]] = [[] for _ in range(torch.distributed.get_world_size())]
            torch.distributed.all_gather_object(shares, own)
            own = [example for share in shares for example in share]
        return sorted(own)


def bleu(hypotheses: Sequence[str], references: Sequence[str], language: str) -> tuple[float, str]:
    """Compute BLEU, and return it with sacrebleu's signature.

    Args:
        hypotheses: N plain texts.
        references: N plain texts.
        language: code of their language, such as de or pt_BR; sacrebleu has tokenizers of their own for zh, ja and ko.

    Raises:
        RuntimeError: for ja or ko if the package that segments them is missing; the message names it.
    """
    return _scored(BLEU(trg_lang=_without_region(language)), hypotheses, references)


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> tuple[float, str]:
    """Compute chrF2, and return it with sacrebleu's signature; arguments as for `bleu`."""
    return _scored(CHRF(), hypotheses, references)


def tokenized_bleu(hypotheses: Sequence[str], references: Sequence[str], language: str) -> tuple[float, str]:
    """Compute BLEU over Moses' tokens, as papers of that time did; not comparable with `bleu`.

    Returns:
        The score, and sacrebleu's signature after the tokenizer.
    """
    from sacremoses import MosesTokenizer  # here, because only the test split is scored by it

    language = _without_region(language)
    tokenizer = MosesTokenizer(lang=language)

    def tokens(texts: Sequence[str]) -> list[str]:
        return [tokenizer.tokenize(text, return_str=True, escape=False) for text in texts]

    score, signature = _scored(BLEU(tokenize="none", force=True), tokens(hypotheses), tokens(references))
    return score, f"moses.{language}|{signature}"


def _without_region(language: str) -> str:
    """Return the code that sacrebleu and Moses know: zh for zh_CN."""
    return re.split("[-_@]", language)[0].lower()


def _scored(metric: BLEU | CHRF, hypotheses: Sequence[str], references: Sequence[str]) -> tuple[float, str]:
    score = metric.corpus_score(list(hypotheses), [list(references)]).score
    return float(score), str(metric.get_signature())
