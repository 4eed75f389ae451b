"""BLEU and chrF of a whole set of translations over all processes, by sacrebleu."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from sacrebleu.metrics import BLEU, CHRF

from app.languages import short_code

BleuTokenizer = Literal["13a", "intl", "zh", "ja-mecab", "ko-mecab", "char"]  # those that need no download
_TOKENIZERS: dict[str, BleuTokenizer] = {
    "zh": "zh",
    "ja": "ja-mecab",
    "ko": "ko-mecab",
    **dict.fromkeys(("bo", "dz", "km", "lo", "my", "th"), "char"),
}


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


def tokenizer_of(language: str) -> BleuTokenizer:
    """Return sacrebleu's tokenizer for a language, by a code such as de, pt_BR, cmn or zho_Hans.

    13a, except for languages that are written without spaces: sacrebleu's own for Chinese, Japanese and Korean, and
    char, a token for each sign, for Burmese, Dzongkha, Khmer, Lao, Thai and Tibetan.
    """
    is_latin = "latn" in re.split("[-_@]", language.lower())  # a transcription
    return "13a" if is_latin else _TOKENIZERS.get(short_code(language), "13a")


def bleu(
    hypotheses: Sequence[str], references: Sequence[str], language: str, tokenizer: BleuTokenizer | None = None
) -> tuple[float, str]:
    """Compute BLEU, and return it with sacrebleu's signature.

    Args:
        hypotheses: N plain texts.
        references: N plain texts.
        language: code of their language.
        tokenizer: sacrebleu's tokenizer; by default that of `tokenizer_of` the language.

    Raises:
        RuntimeError: for ja-mecab or ko-mecab if the package that segments is missing; the message names it.
    """
    return _scored(BLEU(tokenize=tokenizer or tokenizer_of(language)), hypotheses, references)


def bleu_counts(
    hypotheses: Sequence[str], references: Sequence[str], language: str, tokenizer: BleuTokenizer | None = None
) -> dict[str, list[int]]:
    """Count what BLEU is computed from, sentence by sentence; arguments as for `bleu`.

    Returns:
        By name, N each, whose sums give the BLEU of the whole: `sys_len` and `ref_len`, tokens of hypothesis and
        reference; `correct_1` to `correct_4`, n-grams of the hypothesis that are in the reference; `total_1` to
        `total_4`, all of them.
    """
    metric = BLEU(tokenize=tokenizer or tokenizer_of(language), smooth_method="none", effective_order=True)
    found = [metric.sentence_score(*pair) for pair in zip(hypotheses, ([text] for text in references), strict=True)]
    return {
        "sys_len": [score.sys_len for score in found],
        "ref_len": [score.ref_len for score in found],
        **{f"correct_{n}": [score.counts[n - 1] for score in found] for n in range(1, 5)},
        **{f"total_{n}": [score.totals[n - 1] for score in found] for n in range(1, 5)},
    }


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> tuple[float, str]:
    """Compute chrF2, and return it with sacrebleu's signature; arguments as for `bleu`."""
    return _scored(CHRF(), hypotheses, references)


def tokenized_bleu(hypotheses: Sequence[str], references: Sequence[str], language: str) -> tuple[float, str]:
    """Compute BLEU over Moses' tokens, as papers of that time did; not comparable with `bleu`.

    Returns:
        The score, and sacrebleu's signature after the tokenizer.
    """
    from sacremoses import MosesTokenizer  # here, because only the test split is scored by it

    language = short_code(language)
    tokenizer = MosesTokenizer(lang=language)

    def tokens(texts: Sequence[str]) -> list[str]:
        return [tokenizer.tokenize(text, return_str=True, escape=False) for text in texts]

    score, signature = _scored(BLEU(tokenize="none", force=True), tokens(hypotheses), tokens(references))
    return score, f"moses.{language}|{signature}"


def _scored(metric: BLEU | CHRF, hypotheses: Sequence[str], references: Sequence[str]) -> tuple[float, str]:
    score = metric.corpus_score(list(hypotheses), [list(references)]).score
    return float(score), str(metric.get_signature())
