"""The test scores that the paper published (Xu et al. 2019, as on its poster), by the names of our datasets."""

from __future__ import annotations

from app.norms import NormSpec
from app.study.plan import Variant

# Accuracy and UAS in per cent, BLEU, bits per character; None where training diverged.
_SCORES: dict[str, dict[str, float | None]] = {
    "wmt14_en_de": {
        "none": None, "layernorm": 28.3, "layernorm_simple": 28.4, "detachnorm": None, "adanorm": 28.5,
    },
    "iwslt14_de_en": {
        "none": 34.0, "layernorm": 35.5, "layernorm_simple": 35.5, "detachnorm": 33.9, "adanorm": 35.6,
    },
    "iwslt15_en_vi": {
        "none": 28.4, "layernorm": 31.2, "layernorm_simple": 31.6, "detachnorm": 27.7, "adanorm": 31.4,
    },
    "enwik8": {"none": 1.04, "layernorm": 1.07, "layernorm_simple": 1.07, "detachnorm": 1.12, "adanorm": 1.07},
    "rt": {"none": 76.85, "layernorm": 77.21, "layernorm_simple": 76.66, "detachnorm": 76.40, "adanorm": 77.50},
    "sst5": {"none": 38.55, "layernorm": 39.23, "layernorm_simple": 40.54, "detachnorm": 40.04, "adanorm": 40.54},
    "mnist": {"none": 99.14, "layernorm": 99.13, "layernorm_simple": 99.09, "detachnorm": 99.10, "adanorm": 99.35},
    "ptb": {"none": 88.31, "layernorm": 89.12, "layernorm_simple": 89.19, "detachnorm": 89.79, "adanorm": 89.23},
}  # fmt: skip


def published(dataset: str, variant: Variant) -> str:
    """The score that the paper has for exactly this variant, or "diverges"; "" for what it did not run.

    It ran norms with their default options, at all sites, where the model has them, and nothing else changed.
    """
    name, scores = variant.norm.name, _SCORES.get(dataset, {})
    if name not in scores or variant != Variant(NormSpec.parse(name)):
        return ""
    score = scores[name]
    return "diverges" if score is None else f"{score:g}"
