"""The keys of a study's YAML that have plain values, each checked."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.errors import InputError
from app.errors.did_you_mean import did_you_mean
from app.metrics import metric_info
from app.norms import NATIVE
from app.study.claims import claims_path, read_claims
from app.study.plan.flags import flat, number_in, written
from app.study.plan.study import ALWAYS_VARIED, SOURCES

KEYS = (
    "name", "configs", "norms", "placements", "axes", "seeds", "baseline", "overrides", "retries", "looks", "vary",
    "folds", "margin", "comparisons", "claims", "tune", "tuning_seeds", "grow", "controls",
)  # fmt: skip
_LARGEST_SEED = 2**32 - 1  # that Lightning accepts
_FEWEST_AT_A_LOOK = 3  # seeds below which nothing is called
_SET_BY_THE_STUDY = (
    "config", "norm", "placement", "seed_everything", "run_root", "ckpt_path", "test_after_fit",
    *(f"{source}_seed" for source in SOURCES),
)  # fmt: skip


class Keys:
    """Reads one key after the other, so that each message can say where it is.

    Args:
        path: of the YAML, for messages.
        content: of the YAML.
    """

    def __init__(self, path: Path, content: dict[Any, Any]) -> None:
        self.path, self.content = path, {key: value for key, value in content.items() if value is not None}
        for key in content:
            if key not in KEYS:
                raise self.wrong(f"unknown key {key!r}{did_you_mean(str(key), KEYS)} allowed: {', '.join(KEYS)}")
        for key in ("configs", "norms", "seeds", "placements"):
            value = content.get(key, [NATIVE] if key == "placements" else None)
            if not isinstance(value, list) or not value:
                raise self.wrong(f"{key} is {value!r}; must be a list with at least one entry")

    def wrong(self, message: str) -> InputError:
        """The error to raise, with the place."""
        return InputError(f"{self.path}: {message}")

    def once(self, key: str, labels: Sequence[Any], remedy: str = "list each once") -> None:
        """Refuse an entry that is listed twice."""
        twice = sorted({str(label) for label in labels if list(labels).count(label) > 1})
        if twice:
            raise self.wrong(f"{key} names {', '.join(twice)} twice; {remedy}")

    def name(self) -> str:
        """The name of the study: that of the file by default."""
        name = self.content.get("name", self.path.stem)
        if not names_folder(name):
            raise self.wrong(f"name is {name!r}; must be a folder name, without / and without a leading dot")
        return str(name)

    def settings(self, key: str, value: Any) -> dict[str, Any]:
        """A mapping of settings of train.py, flat."""
        if not isinstance(value, dict):
            raise self.wrong(f"{key} is {value!r}; must be a mapping such as {{trainer.max_epochs: 3}}")
        settings = dict(flat(value))
        for name, setting in settings.items():
            self.plain(key, name, setting)
        return settings

    def plain(self, key: str, name: str, value: Any) -> None:
        """Refuse a setting that no command line can have, or that the study sets itself."""
        try:
            written(value)
        except TypeError as error:  # YAML has dates, sets and bytes; a command line has not
            raise self.wrong(f"{key}: {name} is {value!r}, not a plain value; put it into quotes") from error
        if name.split(".")[0] in _SET_BY_THE_STUDY:
            raise self.wrong(f"{key} names {name}, which the study sets itself; omit it")

    def seeds(self, key: str) -> tuple[int, ...]:
        """The seeds that a key lists, each once."""
        seeds = self.content[key]
        for seed in seeds:
            if type(seed) is not int or not 0 <= seed <= _LARGEST_SEED:  # a bool is an int too
                raise self.wrong(f"{key.removesuffix('s')} {seed!r}; must be a whole number from 0 to {_LARGEST_SEED}")
        self.once(key, seeds)
        return tuple(seeds)

    def whole(self, key: str, default: int) -> int:
        """A whole number >= 0."""
        number = self.content.get(key, default)
        if type(number) is not int or number < 0:
            raise self.wrong(f"{key} is {number!r}; must be a whole number >= 0")
        return number

    def looks(self, seeds: int) -> tuple[int, ...]:
        """Numbers of seeds at which the study looks; all seeds alone by default."""
        looks = self.content.get("looks", [seeds])
        if (
            not isinstance(looks, list)
            or not all(type(look) is int for look in looks)
            or looks != sorted(set(looks))
            or looks[-1:] != [seeds]
            or ("looks" in self.content and looks[0] < _FEWEST_AT_A_LOOK)
        ):
            raise self.wrong(
                f"looks is {looks!r}; must be rising numbers of seeds, each >= {_FEWEST_AT_A_LOOK}, of which the last "
                f"is the number of all seeds, {seeds}"
            )
        return tuple(looks)

    def vary(self) -> tuple[str, ...]:
        """What differs from seed to seed."""
        vary = self.content.get("vary", list(ALWAYS_VARIED))
        if not isinstance(vary, list) or not vary or not all(source in SOURCES for source in vary):
            raise self.wrong(f"vary is {vary!r}; must be a list of some of {', '.join(SOURCES)}")
        return tuple(source for source in SOURCES if source in vary)

    def folds(self, seeds: int) -> int | None:
        """The number of folds; None for none."""
        folds = self.content.get("folds")
        if folds is None:
            return None
        if type(folds) is not int or folds < 2:
            raise self.wrong(f"folds is {folds!r}; must be a whole number >= 2")
        if seeds % folds:
            raise self.wrong(
                f"folds is {folds}, of which each seed tests one, and {seeds} seeds do not test all equally often; "
                f"list {folds} seeds, or a multiple"
            )
        return folds

    def margin(self) -> dict[str, float]:
        """The smallest difference that matters, by metric."""
        margin = self.content.get("margin", {})
        if not isinstance(margin, dict):
            raise self.wrong(f"margin is {margin!r}; must be a mapping of metrics such as {{accuracy: 0.5}}")
        found = {}
        for metric, value in margin.items():
            number = number_in(value)
            if not isinstance(metric, str) or metric_info(metric) is None:
                raise self.wrong(f"margin: unknown metric {metric!r}; use one such as accuracy, bleu, bpc, uas")
            if type(number) not in (int, float) or not (math.isfinite(number) and number > 0):
                raise self.wrong(f"margin: {metric} is {value!r}; must be a number > 0, in points where it is a share")
            found[metric] = float(number)
        return found

    def claims(self) -> tuple[str, ...]:
        """Files of claims, each of which can be read."""
        claims = self.content.get("claims", ["paper"])
        if not isinstance(claims, list) or not all(isinstance(name, str) for name in claims):
            raise self.wrong(f"claims is {claims!r}; must be a list of names in configs/claims, or of paths")
        for name in claims:
            try:
                read_claims(claims_path(name))
            except InputError as error:
                raise self.wrong(str(error)) from error
        return tuple(claims)


def names_folder(name: Any) -> bool:
    """Whether a value can be the name of a folder that is not hidden."""
    return isinstance(name, str) and re.fullmatch(r"[^./\0][^/\0]*", name) is not None
