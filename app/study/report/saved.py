"""A report's csv files, read back: what remakes the report where the run folders are gone."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from app.errors import InputError
from app.metrics import MetricInfo
from app.study.analysis.analyse import analyse
from app.study.analysis.tables import Analysis
from app.study.plan import Condition, Study, Trial
from app.study.report.comparisons_csv import read_comparisons
from app.study.report.records import SCORES, RunRecord, read_records


def read_analysis(study: Study, folder: Path) -> tuple[Analysis, list[RunRecord]]:
    """The analysis and the runs that a report was written of, with the same numbers.

    Args:
        study: the study, as its YAML has it.
        folder: of scores.csv, comparisons.csv, curves.csv and norm_gradients.csv.

    Raises:
        InputError: where a file is missing, is of another study, or was changed.
    """
    try:
        return _read(study, folder)
    except InputError:
        raise
    except (KeyError, ValueError, TypeError) as error:  # a column or a condition that is not there, text for a number
        raise InputError(
            f"{folder}: its csv files are not as a report of study {study.name} has them ({error}); make the report "
            "of the run folders again"
        ) from error


def _read(study: Study, folder: Path) -> tuple[Analysis, list[RunRecord]]:
    records = read_records(folder)
    by_label = {variant.label: variant for variant in study.variants}
    for record in records:
        if record.variant not in by_label:
            raise InputError(
                f"{folder / SCORES}: {record.variant} is not a variant of study {study.name}; give the folder of this "
                "study's report"
            )
    conditions = {record.condition: Condition(record.condition, ()) for record in records}
    conditions |= {condition.label: condition for condition in study.conditions}
    trials = [
        Trial(
            condition=conditions[record.condition],
            variant=by_label[record.variant],
            seed=record.seed,
            root=Path(record.folder),
            arguments=tuple(shlex.split(record.command)),
            phase="tune" if record.phase == "tune" else "score",
            tuned=json.loads(record.tuned) if record.tuned else {},
            result=record.result,
        )
        for record in records
    ]
    metrics = {
        record.condition: MetricInfo.from_dict(record.result["primary_metric"])
        for record in records
        if record.result is not None
    }
    return analyse(study, trials, read_comparisons(study, metrics, folder)), records
