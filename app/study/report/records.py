"""The runs of a study as its report knows them: read from their folders, or from the csv files of an earlier report."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.errors import InputError
from app.metrics import MetricInfo
from app.runs.atomic_write import atomic_write
from app.runs.metrics_file import Event, read_events
from app.runs.result import throughput
from app.study.plan import Study, Trial
from app.study.trials import State, result_of, run_folder, state_of

_STATISTICS = ("recentring", "rescaling", "sigma")
SCORES, CURVES, SITES = "scores.csv", "curves.csv", "norm_gradients.csv"
Key = tuple[str, str, int, str, str]  # condition, variant, seed, phase, tuned


@dataclass(frozen=True)
class RunRecord:
    """A run of a study, whether it has ended or not.

    Attributes:
        condition: label of its condition.
        variant: label of its variant.
        seed: of --seed_everything.
        phase: score, or tune.
        tuned: its values of the tuned settings, as JSON.
        state: finished, diverged, or why it has no result yet.
        folder: the run's folder, or what it was.
        command: that starts and resumes it.
        result: its result.json; None before its end.
        curve: its validations.
        sites: for each site of a norm, its last measured statistics.
    """

    condition: str
    variant: str
    seed: int
    phase: str
    tuned: str
    state: State
    folder: str
    command: str
    result: dict[str, Any] | None
    curve: tuple[Event, ...] = ()
    sites: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """What tells it from the study's other runs."""
        return self.condition, self.variant, self.seed, self.phase, self.tuned

    @property
    def name(self) -> str:
        """How a reader of a picture finds it."""
        return f"{self.variant}, seed {self.seed}"

    @property
    def title(self) -> str:
        """What it is in a list of all runs."""
        tuned = [f"{key}={value}" for key, value in json.loads(self.tuned or "{}").items()]
        return ", ".join([self.condition, *(["tuning"] if self.phase == "tune" else []), *tuned, self.name])


def of_trials(study: Study, trials: Sequence[Trial]) -> list[RunRecord]:
    """A record for each trial, from the files of its run."""
    found = []
    for trial in trials:
        folder = run_folder(trial)
        events = read_events(folder) if folder else []
        found.append(
            RunRecord(
                condition=trial.condition.label,
                variant=trial.variant.label,
                seed=trial.seed,
                phase=trial.phase,
                tuned=json.dumps(dict(trial.tuned)) if trial.tuned else "",
                state=state_of(trial, study.retries),
                folder=str(folder or trial.root),
                command=trial.command,
                result=result_of(trial),
                curve=tuple(event for event in events if event.get("val/loss") is not None),
                sites=_last_measured(events),
            )
        )
    return found


def _last_measured(events: Sequence[Event]) -> dict[str, dict[str, float]]:
    prefix, found = "norm_grad/", {}
    last = next((event for event in reversed(events) if any(key.startswith(prefix) for key in event)), {})
    for key, value in last.items():
        if key.startswith(prefix) and value is not None:
            statistic, _, site = key.removeprefix(prefix).partition("/")
            if site and statistic in _STATISTICS:
                found.setdefault(site, {"step": last["step"]})[statistic] = value
    return found


# A column of scores.csv and where result.json has it; {metric} is the primary metric, whose scores are in the unit of
# tables: per cent where it is a share.
_TEXTS = {
    "task": ("task",),
    "dataset": ("dataset",),
    "model": ("model",),
    "norm": ("norm", "name"),
    "metric": ("primary_metric", "name"),
    "metric_label": ("primary_metric", "label"),
    "data_fingerprint": ("data_fingerprint",),
    "plan_fingerprint": ("plan_fingerprint",),
    "weights_fingerprint": ("weights_fingerprint",),
    "app": ("versions", "app"),
    "torch": ("versions", "torch"),
    "device": ("training", "device"),
    "precision": ("training", "trainer.precision"),
    "unit": ("cost", "unit"),
}
_NUMBERS = {
    "metric_is_share": ("primary_metric", "is_share"),
    "metric_higher_is_better": ("primary_metric", "higher_is_better"),
    "test": ("test", "{metric}"),
    "test_of_majority": ("test", "{metric}_of_majority"),
    "test_loss": ("test", "loss"),
    "best_epoch": ("best", "epoch"),
    "best_step": ("best", "step"),
    "best_valid": ("best", "val", "{metric}"),
    "best_valid_loss": ("best", "val", "loss"),
    "best_train_loss": ("best", "train_probe", "loss"),
    "best_by_loss_epoch": ("best_by_loss", "epoch"),
    "best_by_loss_step": ("best_by_loss", "step"),
    "best_by_loss_valid": ("best_by_loss", "val", "{metric}"),
    "best_by_loss_valid_loss": ("best_by_loss", "val", "loss"),
    "last_epoch": ("final", "epoch"),
    "last_step": ("final", "step"),
    "last_valid": ("final", "val", "{metric}"),
    "last_valid_loss": ("final", "val", "loss"),
    "last_train_loss": ("final", "train_probe", "loss"),
    "gap_at_best": ("gap", "best", "loss"),
    "gap": ("gap", "final", "loss"),
    "rise": ("gap", "rise", "loss"),
    "area": ("gap", "area", "loss"),
    "onset_step": ("gap", "onset", "loss", "step"),
    "recentring": ("norm_gradients", "recentring"),
    "rescaling": ("norm_gradients", "rescaling"),
    "seconds": ("cost", "elapsed_s"),
    "units_per_s": ("cost", "{unit}_per_s"),
    "peak_memory_bytes": ("cost", "peak_rss_bytes"),
    "parameters": ("cost", "parameters"),
    "learning_rate": ("training", "model.optimizer.lr"),
    "max_epochs": ("training", "trainer.max_epochs"),
    "train_fraction": ("training", "data.train_fraction"),
    "folds": ("training", "data.folds"),
    "fold": ("training", "data.fold"),
    **{f"{source}_seed": ("seeds", source) for source in ("init", "order", "dropout", "split")},
}
_COLUMNS = {**_TEXTS, **_NUMBERS}
_KEY = ("study", "condition", "variant", "seed", "phase", "tuned", "status")


def write_records(study: str, records: Sequence[RunRecord], folder: Path) -> None:
    """Write scores.csv, a row for each run, curves.csv, for each validation, and norm_gradients.csv, for each site."""
    rows = [
        {**_identity(study, record), **_columns_of(record), "folder": record.folder, "command": record.command}
        for record in records
    ]
    write_csv(folder / SCORES, rows)
    curves = [{**_identity(study, record), **event} for record in records for event in record.curve]
    write_csv(folder / CURVES, curves)
    sites = [
        {**_identity(study, record), "site": site, **values}
        for record in records
        for site, values in record.sites.items()
    ]
    write_csv(folder / SITES, sites)


def read_records(folder: Path) -> list[RunRecord]:
    """What `write_records` wrote.

    Raises:
        InputError: where there are no such files, or where they are not ours.
    """
    scores = list(read_csv(folder / SCORES))
    curves: dict[Key, list[Event]] = {}
    for row in read_csv(folder / CURVES):
        curves.setdefault(_key(row), []).append(
            {name: _number(value) for name, value in row.items() if name not in _KEY and value != ""}
        )
    sites: dict[Key, dict[str, dict[str, float]]] = {}
    for row in read_csv(folder / SITES):
        values = {name: _number(row[name]) for name in ("step", *_STATISTICS) if row.get(name)}
        sites.setdefault(_key(row), {})[row["site"]] = values
    found = []
    for row in scores:
        key = _key(row)
        found.append(
            RunRecord(
                *key,
                row["status"],
                row["folder"],
                row["command"],
                _result_of(row),
                tuple(curves.get(key, ())),
                sites.get(key, {}),
            )  # fmt: skip
        )
    return found


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows under all columns that any of them has; numbers as they are, nothing where there is none."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with atomic_write(path) as part, open(part, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a csv file.

    Raises:
        InputError: where there is none.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)
    except OSError as error:
        raise InputError(f"{path}: no such file; give the folder of a report, which has {path.name}") from error


def _identity(study: str, record: RunRecord) -> dict[str, Any]:
    return dict(zip(_KEY, (study, *record.key, record.state), strict=True))


def _key(row: Mapping[str, str]) -> Key:
    return row["condition"], row["variant"], int(row["seed"]), row["phase"], row["tuned"]


def _columns_of(record: RunRecord) -> dict[str, Any]:
    if record.result is None:
        return dict.fromkeys((*_COLUMNS, "training_digest"))
    metric = MetricInfo.from_dict(record.result["primary_metric"])
    cost = {**record.result["cost"], "unit": throughput(record.result["cost"])[1]}
    names = {"metric": metric.name, "unit": cost["unit"]}
    factor = 100.0 if metric.is_share else 1.0
    whole = {**record.result, "primary_metric": metric.to_dict(), "cost": cost}
    found: dict[str, Any] = {}
    for column, path in _COLUMNS.items():
        value: Any = whole
        for step in path:
            value = value.get(step.format(**names)) if isinstance(value, dict) else None
        # rounded so that what is read back is written as it was
        is_scaled = _is_score(path) and value is not None and factor != 1
        found[column] = round(factor * value, 10) if is_scaled else value
    training, digest = record.result.get("training"), record.result.get("training_digest")
    if training and digest is None:
        digest = hashlib.sha256(json.dumps(training, sort_keys=True).encode()).hexdigest()[:16]
    return {**found, "training_digest": digest}


def _is_score(path: tuple[str, ...]) -> bool:
    return path[-1].startswith("{metric}")


def _result_of(row: Mapping[str, str]) -> dict[str, Any] | None:
    """What result.json had of a run, as far as the row has it."""
    if row["status"] not in ("finished", "diverged"):
        return None
    result: dict[str, Any] = {"status": row["status"], "seed": int(row["seed"]), "training": {}, "cost": {}}
    factor = 100.0 if row["metric_is_share"] == "True" else 1.0
    names = {"metric": row["metric"], "unit": row["unit"]}
    for column, path in _COLUMNS.items():
        text, inner = row.get(column, ""), result
        for step in path[:-1]:
            inner = inner.setdefault(step, {})
        if text != "":
            value = text if column in _TEXTS else _number(text)
            inner[path[-1].format(**names)] = value / factor if _is_score(path) else value
        elif path[-1] not in inner:
            inner[path[-1].format(**names)] = None
    result["training_digest"] = row["training_digest"] or None
    result["primary_metric"]["mode"] = "max" if result["primary_metric"]["higher_is_better"] else "min"
    return result


def _number(text: str) -> Any:
    """A number or a truth value as csv has it; what else a user's callback has logged stays text."""
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text
