"""comparisons.csv: every comparison of a study with all its numbers, written and read back."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.errors import InputError
from app.metrics import MetricInfo
from app.study.analysis.comparisons import DIVERGENCE
from app.study.analysis.quantities import BY_NAME, score
from app.study.analysis.sides import Effect, Side
from app.study.analysis.tables import Comparison, Diverged, Family
from app.study.plan import Study
from app.study.report.records import read_csv, write_csv
from app.study.statistics.estimate import Estimate, Ranged

COMPARISONS = "comparisons.csv"
_ESTIMATE = ("n", "mean", "sd", "se", "df", "low", "high", "p", "adjusted", "tost_p", "tost_adjusted")
_ONE_SIDED = ("not_worse_p", "not_worse_adjusted")
_DIVERGED = ("ours", "ours_of", "theirs", "theirs_of", "p", "adjusted")


def write_comparisons(families: Sequence[Family], folder: Path) -> None:
    """Write a row for each comparison of each family; the first row of a family has its method, which is long."""
    rows = [
        {"family": family.name, **_row(comparison), "method": family.method if number == 0 else None}
        for family in families
        for number, comparison in enumerate(family.comparisons)
    ]
    write_csv(folder / COMPARISONS, rows)


def read_comparisons(study: Study, metrics: Mapping[str, MetricInfo], folder: Path) -> list[Family]:
    """What `write_comparisons` wrote.

    Args:
        study: whose variants are compared.
        metrics: the primary metric of each condition, by its label.
        folder: of the file.

    Raises:
        InputError: where there is no such file, or where it is of another study.
    """
    by_label: dict[str, Side] = {variant.label: variant for variant in study.variants}
    for variant, without in itertools.permutations(study.variants, 2):
        effect = Effect(variant, without)
        by_label[effect.label] = effect
    known = {**BY_NAME, DIVERGENCE.name: DIVERGENCE}
    families: dict[str, tuple[str, list[Comparison]]] = {}
    for row in read_csv(folder / COMPARISONS):
        for side in ("variant", "other"):
            if row[side] not in by_label:
                raise InputError(
                    f"{folder / COMPARISONS}: {row[side]} is not a variant of study {study.name}; give the folder of "
                    "this study's report"
                )
        quantity = known.get(row["quantity"]) or score(metrics[row["condition"]])
        comparison = Comparison(
            quantity=quantity,
            condition=row["condition"],
            variant=by_label[row["variant"]],
            other=by_label[row["other"]],
            estimate=_estimate(row),
            diverged=Diverged(
                **{name: _number(row[f"diverged_{name}"]) for name in _DIVERGED}, collapsed=row["collapsed"] == "True"
            ),
            margin=_optional(row["margin"]),
            verdict=row["verdict"],  # type: ignore[arg-type]
            unpaired=row["unpaired"],
            look=None if row["look"] == "" else int(row["look"]),
        )
        families.setdefault(row["family"], (row["method"], []))[1].append(comparison)
    return [Family(name, tuple(found), method) for name, (method, found) in families.items()]


def _row(comparison: Comparison) -> dict[str, Any]:
    found = comparison.estimate
    row: dict[str, Any] = {
        "quantity": comparison.quantity.name,
        "unit": comparison.quantity.unit,
        "condition": comparison.condition,
        "variant": comparison.variant.label,
        "other": comparison.other.label,
        "verdict": comparison.verdict,
        **{name: getattr(found, name, None) for name in (*_ESTIMATE, *_ONE_SIDED)},
        "margin": comparison.margin,
    }
    ranges = {
        "simultaneous": (found.simultaneous if found else (None, None)),
        "detectable": (found.detectable if found else (None,) * 3),
        "seeds_needed": (found.seeds_needed if found and found.seeds_needed else (None,) * 3),
    }
    for name, values in ranges.items():
        for end, value in zip(("", "_low", "_high")[-len(values) :], values, strict=True):
            row[f"{name}{end}"] = value
    row |= {f"variance_of_{source}": found.sources.get(source) if found else None for source in ("seeds", "examples")}
    row |= {f"diverged_{name}": getattr(comparison.diverged, name) for name in _DIVERGED}
    return row | {
        "collapsed": comparison.diverged.collapsed,
        "outliers": " ".join(map(str, found.outliers)) if found else None,
        "floored": found.floored if found else None,
        "estimand": found.estimand if found else None,
        "unpaired": comparison.unpaired,
        "look": comparison.look,
        "words": comparison.words,
    }


def _estimate(row: Mapping[str, str]) -> Estimate | None:
    if row["n"] == "":
        return None
    numbers = {name: math.nan if row[name] == "" else _number(row[name]) for name in _ESTIMATE[:9]}
    optional = {name: _optional(row[name]) for name in (*_ESTIMATE[9:], *_ONE_SIDED)}
    ends = ("", "_low", "_high")
    needed = None if row["seeds_needed"] == "" else Ranged(*(float(row[f"seeds_needed{end}"]) for end in ends))
    return Estimate(
        **numbers,
        **optional,
        simultaneous=(float(row["simultaneous_low"]), float(row["simultaneous_high"])),
        detectable=Ranged(*(float(row[f"detectable{end}"]) for end in ends)),
        seeds_needed=needed,
        sources={
            name: float(row[f"variance_of_{name}"]) for name in ("seeds", "examples") if row[f"variance_of_{name}"]
        },
        estimand=row["estimand"],
        outliers=tuple(map(int, row["outliers"].split())),
        floored=row["floored"] == "True",
    )


def _optional(text: str) -> float | None:
    return None if text == "" else float(text)


def _number(text: str) -> Any:
    try:
        return int(text)
    except ValueError:
        return float(text)
