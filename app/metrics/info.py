"""What has to be known of a metric to compare, plot and print it; declared once, next to the metrics themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True)
class MetricInfo:
    """A metric as studies, plots and log lines treat it.

    Args:
        name: the key of a score without its split, such as accuracy.
        label: name and unit for an axis.
        higher_is_better: the direction of improvement.
        is_share: a number from 0 to 1 that tables give in per cent.
    """

    name: str
    label: str
    higher_is_better: bool = True
    is_share: bool = False

    @property
    def mode(self) -> Literal["min", "max"]:
        """The direction in Lightning's words."""
        return "max" if self.higher_is_better else "min"

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, for result.json and run.json."""
        return {"mode": self.mode, **asdict(self)}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> MetricInfo:
        """The metric that `to_dict` described; runs of earlier versions kept only its name and mode."""
        if "label" in kept:
            return cls(**{key: value for key, value in kept.items() if key != "mode"})
        return metric_info(kept["name"]) or cls(kept["name"], kept["name"], higher_is_better=kept["mode"] == "max")


LOSS = MetricInfo("loss", "loss (nats)", higher_is_better=False)
ACCURACY = MetricInfo("accuracy", "accuracy", is_share=True)
MACRO_F1 = MetricInfo("macro_f1", "macro F1", is_share=True)
BLEU = MetricInfo("bleu", "BLEU")
CHRF = MetricInfo("chrf", "chrF")
PERPLEXITY = MetricInfo("perplexity", "perplexity", higher_is_better=False)
BYTE_PERPLEXITY = MetricInfo("byte_perplexity", "perplexity per byte", higher_is_better=False)
BITS_PER_BYTE = MetricInfo("bpc", "bits per byte", higher_is_better=False)
UAS = MetricInfo("uas", "UAS", is_share=True)
LAS = MetricInfo("las", "LAS", is_share=True)
MATCH = MetricInfo("match", "sentences that are all right", is_share=True)

_KNOWN = {
    info.name: info
    for info in (LOSS, ACCURACY, MACRO_F1, BLEU, CHRF, PERPLEXITY, BYTE_PERPLEXITY, BITS_PER_BYTE, UAS, LAS, MATCH)
}
_BASELINE = re.compile(r"(.+)_of_.+?(_without_.+)?")  # accuracy_of_majority; uas_of_next_without_punct


def declare_metric(info: MetricInfo) -> MetricInfo:
    """Make a metric known, so that its gap has the right sign; for metrics of tasks outside this package.

    Raises:
        ValueError: if another metric of this name was declared otherwise.
    """
    if _KNOWN.setdefault(info.name, info) != info:
        raise ValueError(f"metric {info.name!r} is declared already, as {_KNOWN[info.name]}; choose another name")
    return info


def metric_info(name: str) -> MetricInfo | None:
    """What was declared for a metric, also under a variant of its name, such as uas_without_punct or bleu_tokenized.

    Returns:
        None for a metric that was not declared: its direction is not known, so nothing compares it.
    """
    base = name
    while base not in _KNOWN:
        base, separator, _ = base.rpartition("_")
        if not separator:
            return None
    return replace(_KNOWN[base], name=name, label=_KNOWN[base].label + name[len(base) :].replace("_", " "))


def baseline_of(name: str) -> str | None:
    """The model's own score that a baseline's is to be compared with: accuracy for accuracy_of_majority.

    Returns:
        None for a score of the model.
    """
    match = _BASELINE.fullmatch(name)
    return match[1] + (match[2] or "") if match and metric_info(match[1]) else None


def baselines_not_beaten(scores: Mapping[str, float]) -> dict[str, str]:
    """The baselines among test scores that the model is not better than, each with the name of its own score."""
    found = {}
    for name, score in scores.items():
        own = baseline_of(name)
        if own is not None and own in scores:
            info = metric_info(own)
            assert info is not None
            if not (scores[own] > score if info.higher_is_better else scores[own] < score):
                found[name] = own
    return found
