"""A claim about norms, as a YAML file has it: words, a source, and the comparisons that would show it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, Literal, get_args

from app.backbones.placement import PlacementSpec, placement_names
from app.errors import InputError
from app.errors.did_you_mean import did_you_mean
from app.errors.yaml_file import read_settings
from app.installation import CONFIGS
from app.metrics import metric_info
from app.norms import NormError, NormSpec

Expected = Literal["better", "worse", "not worse", "equal", "higher", "lower"]
At = Literal["best", "final"]
SCORE = "score"  # the primary metric on the test set, whatever it is
QUANTITIES = (SCORE, "gap", "rise", "area", "train loss", "valid loss", "recentring", "rescaling")
_AT_BEST = ("gap", "train loss", "valid loss")
_FOLDER = CONFIGS / "claims"
_OF_FILE, _OF_CLAIM = ("source", "claims"), ("id", "words", "source", "where", "published", "comparisons")
_SCOPE = ("tasks", "datasets", "placements")
_OF_COMPARISON = ("quantity", "at", "variant", "other", "expected", "margin")


@dataclass(frozen=True)
class Named:
    """A variant of a study as a claim names it.

    Args:
        norm: the norm with all its settings; None where `label` says all.
        placement: None for the one that the claim is asked in.
        label: the label of a study's tables; "" where `norm` is given.
    """

    norm: NormSpec | None
    placement: PlacementSpec | None = None
    label: str = ""

    def label_in(self, placement: PlacementSpec) -> str:
        """The label in a study's tables, where the claim is asked in this placement."""
        return self.label if self.norm is None else f"{self.norm.label}{(self.placement or placement).suffix}"


@dataclass(frozen=True)
class Prediction:
    """What a claim predicts of one comparison.

    Args:
        quantity: one of QUANTITIES.
        variant: one variant, or two, which stand for the first minus the second.
        other: what it is compared with, likewise.
        expected: better, worse, not worse (by the margin) and equal (within it) follow the direction of the quantity;
            higher and lower do not.
        margin: by metric or quantity, in the unit of tables; what it lacks is the study's.
        at: the best validation or the last one, for quantities of the curves.
    """

    quantity: str
    variant: tuple[Named, ...]
    other: tuple[Named, ...]
    expected: Expected
    margin: Mapping[str, float]
    at: At = "final"


@dataclass(frozen=True)
class Claim:
    """A claim and what would show it: all its predictions together.

    Args:
        id: its short name.
        words: what is claimed.
        source: who claims it, and where.
        predictions: of its comparisons; it is supported where all are shown.
        published: (k, n) where its authors found it on k of n datasets.
        tasks: names of tasks that it is about; empty for all.
        datasets: names of datasets that it is about; empty for all.
        placements: in which it is asked of norms that are named without one; empty for the baseline's alone.
    """

    id: str
    words: str
    source: str
    predictions: tuple[Prediction, ...]
    published: tuple[int, int] | None = None
    tasks: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    placements: tuple[str, ...] = ()

    def is_about(self, task: str, dataset: str) -> bool:
        """Whether results on this task and dataset can answer it."""
        return (not self.tasks or task in self.tasks) and (not self.datasets or dataset in self.datasets)


def claims_path(name: str) -> Path:
    """The file of a study's entry in `claims`: the project's own of this name, or a path as given.

    Raises:
        InputError: where there is no such file.
    """
    ours = _FOLDER / f"{name}.yaml"
    path = ours if re.fullmatch(r"\w+", name) and ours.is_file() else Path(name)
    if not path.is_file():
        known = sorted(file.stem for file in _FOLDER.glob("*.yaml"))
        hint = did_you_mean(name, known)
        raise InputError(f"claims {name!r}: no such file{hint} give the path of a YAML, or one of {', '.join(known)}")
    return path


def read_claims(path: Path) -> list[Claim]:
    """Read a file of claims.

    Raises:
        InputError: for a file that cannot be read, and for each key that is unknown, missing or wrong.
    """
    content = read_settings(path, str(path), f"expected claims, with the keys {', '.join(_OF_FILE)}")
    _check_keys(str(path), content, _OF_FILE)
    claims = [
        _claim(f"{path}: claim {number}", entry, content.get("source"))
        for number, entry in enumerate(_list(str(path), content, "claims"), start=1)
    ]
    for claim in claims:
        if sum(claim.id == other.id for other in claims) > 1:
            raise InputError(f"{path}: two claims have the id {claim.id!r}; give each its own")
    return claims


def _claim(place: str, entry: Any, source: Any) -> Claim:
    _check_keys(place, entry, (*_OF_CLAIM, *_SCOPE))
    identity = _text(place, entry, "id")
    place = f"{place} ({identity})"
    source = _text(place, {"source": source, **entry}, "source")
    where = f", {_text(place, entry, 'where')}" if "where" in entry else ""
    published = entry.get("published")
    match = re.fullmatch(r"(\d+) of (\d+)", str(published))
    if published is not None and not (match and 0 < int(match[1]) <= int(match[2])):
        raise InputError(f"{place}: published is {published!r}; must be such as 7 of 8, the datasets it was found on")
    scope = {key: tuple(_list(place, entry, key)) for key in _SCOPE if key in entry}
    for key, names in scope.items():
        if not all(isinstance(name, str) for name in names):
            raise InputError(f"{place}: {key} is {list(names)}; must be a list of names")
    for name in scope.get("placements", ()):
        if name not in placement_names():
            hint = did_you_mean(name, placement_names())
            raise InputError(f"{place}: unknown placement {name!r}{hint} allowed: {', '.join(placement_names())}")
    return Claim(
        id=identity,
        words=_text(place, entry, "words"),
        source=f"{source}{where}",
        predictions=tuple(
            _prediction(f"{place}: comparison {number}", comparison)
            for number, comparison in enumerate(_list(place, entry, "comparisons"), start=1)
        ),
        published=(int(match[1]), int(match[2])) if match else None,
        **scope,
    )


def _prediction(place: str, entry: Any) -> Prediction:
    _check_keys(place, entry, _OF_COMPARISON)
    quantity = _one_of(place, entry, "quantity", QUANTITIES)
    at = _one_of(place, {"at": "final", **entry}, "at", get_args(At))
    if at == "best" and quantity not in _AT_BEST:
        raise InputError(f"{place}: at is best, which {quantity} does not have; only {', '.join(_AT_BEST)} do")
    sides = {side: _side(place, entry, side) for side in ("variant", "other")}
    if len(sides["variant"]) != len(sides["other"]):
        raise InputError(f"{place}: variant is a difference and other is not, or the reverse; make both a list of two")
    if sides["variant"] == sides["other"]:
        raise InputError(f"{place}: variant and other are the same; name two")
    margin = entry.get("margin", {})
    if not isinstance(margin, dict) or not all(
        type(size) in (int, float) and 0 < size < inf for size in margin.values()
    ):
        raise InputError(f"{place}: margin is {margin!r}; must be sizes by metric, such as {{accuracy: 0.5}}")
    for name in margin:
        if name not in QUANTITIES and metric_info(str(name)) is None:
            raise InputError(f"{place}: margin: unknown metric {name!r}; use one such as accuracy, bleu, bpc, uas, gap")
    return Prediction(
        quantity, sides["variant"], sides["other"], _one_of(place, entry, "expected", get_args(Expected)), margin, at
    )


def _side(place: str, entry: Mapping[str, Any], side: str) -> tuple[Named, ...]:
    value = entry.get(side)
    if isinstance(value, list):
        if len(value) != 2:
            raise InputError(f"{place}: {side} has {len(value)} entries; a list of two is their difference")
        return tuple(_named(place, side, one) for one in value)
    return (_named(place, side, value),)


def _named(place: str, side: str, value: Any) -> Named:
    if isinstance(value, str) and not re.fullmatch(r"\w+", value):
        return Named(None, label=value)
    placement = None
    try:
        if isinstance(value, dict) and "norm" in value:
            _check_keys(f"{place}: {side}", value, ("norm", "placement"))
            placement = PlacementSpec.parse(value["placement"]) if "placement" in value else None
            value = value["norm"]
        return Named(NormSpec.parse(value), placement)
    except NormError as error:
        raise InputError(f"{place}: {side}: {error}") from error


def _check_keys(place: str, entry: Any, known: Collection[str]) -> None:
    if not isinstance(entry, dict):
        raise InputError(f"{place}: is {entry!r}; must be a mapping with the keys {', '.join(known)}")
    for key in entry:
        if key not in known:
            raise InputError(f"{place}: unknown key {key!r}{did_you_mean(str(key), known)} allowed: {', '.join(known)}")


def _list(place: str, entry: Mapping[str, Any], key: str) -> list[Any]:
    value = entry.get(key)
    if not isinstance(value, list) or not value:
        raise InputError(f"{place}: {key} is {value!r}; must be a list with at least one entry")
    return value


def _text(place: str, entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{place}: {key} is {value!r}; must be a text")
    return " ".join(value.split())


def _one_of(place: str, entry: Mapping[str, Any], key: str, allowed: Collection[str]) -> Any:
    value = entry.get(key)
    if value not in allowed:
        raise InputError(
            f"{place}: {key} is {value!r}{did_you_mean(str(value), allowed)} allowed: {', '.join(allowed)}"
        )
    return value
