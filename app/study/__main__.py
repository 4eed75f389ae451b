"""`python -m app.study run|status|report|compare|power|inspect`: see `python -m app.study --help`."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from app.errors import DEBUG, InputError, print_answer, take_debug
from app.errors.argparse_messages import StrictArgumentParser
from app.errors.stop_signals import StopSignals, until_stopped
from app.study.inspection import inspect
from app.study.launch import run_trials
from app.study.local import LocalEngine
from app.study.plan import Trial, read_study
from app.study.plan.check import check_settings
from app.study.power import power_lines
from app.study.ray_engine import RayEngine
from app.study.report.compare import study_of_runs
from app.study.report.saved import read_analysis
from app.study.report.write import write_analysis, write_report
from app.study.schedule import needed
from app.study.status_display import StatusDisplay, estimate, status_lines

EXIT_INPUT, EXIT_FAILED = 2, 1


def main(arguments: Sequence[str]) -> int:
    """Run a command; the exit status is 0, 1 for a study with failed trials, 2 for bad input, 128 + the signal."""
    return until_stopped(lambda: _main(arguments), "in the study; start the same command again")


def _main(arguments: Sequence[str]) -> int:
    given, debug = take_debug(arguments)
    try:
        if given[:1] == ["inspect"]:  # whose arguments are train.py's
            return inspect([*given[1:], *([DEBUG] if debug else [])])
        known = _parser().parse_args(given)
        status: int = known.function(known)
        return status
    except InputError as error:
        print_answer(str(error), error, debug)
        return EXIT_INPUT
    except BrokenPipeError:  # the reader of the output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = StrictArgumentParser(prog="python -m app.study", description="Train many runs and compare them.")
    parser.add_argument(DEBUG, action="store_true", help="also print the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "inspect", help="show a model before training: norms, parameters, activations, gradients; takes fit's arguments"
    )
    run = commands.add_parser("run", help="run all trials of a study that are not finished")
    run.add_argument("--jobs", type=int, help="trials to run in parallel (default 1); they share the cores")
    run.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="where trials run: on this machine, or on Ray"
    )
    run.add_argument("--address", help="address of a Ray cluster, or auto; default: start Ray here")
    run.add_argument("--cpus", type=int, help="with Ray: CPUs for each trial (default 1), as many threads")
    run.add_argument("--gpus", type=float, help="with Ray: GPUs for each trial (default 0); a fraction shares one")
    run.add_argument("--dry-run", action="store_true", help="print the trials' commands without running them")
    run.set_defaults(function=_run)
    status = commands.add_parser("status", help="show the state of each trial of a study")
    status.set_defaults(function=_status)
    report = commands.add_parser("report", help="write the report of a study: report.html, tables and figures")
    report.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FOLDER",
        help="make it of the csv files of an earlier report, which is in this folder, and not of run folders",
    )
    report.add_argument("--output", type=Path, help="folder to write to (default: report, in the study's folder)")
    report.set_defaults(function=_report)
    compare = commands.add_parser("compare", help="write a report of finished runs, whatever started them")
    compare.add_argument("runs", type=Path, nargs="+", help="run folders, or folders with runs in them")
    compare.add_argument("--baseline", help="label of the norm that the others are compared with (default: the first)")
    compare.add_argument("--output", type=Path, help="folder to write to (default: one in runs/compare)")
    compare.set_defaults(function=_compare)
    for command in (report, compare):
        command.add_argument(
            "--twin_axes", action="store_true", help="draw train and validation on two axes, as the paper does"
        )
    power = commands.add_parser("power", help="say what a study will be able to show, and what it will cost")
    power.add_argument(
        "--sd",
        action="append",
        default=[],
        metavar="METRIC=VALUE",
        help="standard deviation of the paired differences between norms over seeds, in the unit of tables, such as "
        "accuracy=0.6; by default that of runs that have finished",
    )
    power.set_defaults(function=_power)
    for command in (run, status, report, power):
        command.add_argument("study", type=Path, help="YAML file of the study")
        command.add_argument("--study_root", type=Path, default=Path("runs/studies"), help="folder of all studies")
    return parser


def _run(known: argparse.Namespace) -> int:
    _check(known)
    study = read_study(known.study)
    found = needed(study, known.study_root)
    check_settings(found.runs)
    if known.dry_run:
        print("\n".join(trial.command for trial in found.runs), flush=True)
        said = estimate(study, found.runs, found.words)
        print(said, file=sys.stderr)  # not among the commands, which another program may read
        return 0
    display = StatusDisplay(study, found.runs)

    def needed_now() -> list[Trial]:
        display.trials = needed(study, known.study_root).runs
        return display.trials

    is_ray = known.engine == "ray"
    engine = RayEngine(known.address, known.cpus or 1, known.gpus or 0) if is_ray else LocalEngine(known.jobs or 1)
    stops = StopSignals("in the study; the same command resumes its trials")  # after Ray set its handlers
    with closing(engine), stops, display.live:
        run_trials(needed_now, study.retries, engine, display.log, display.refresh)
    print("\n".join(status_lines(study, display.trials, needed(study, known.study_root).words)))
    return EXIT_FAILED if display.has_failed else 0


def _check(known: argparse.Namespace) -> None:
    for engine, flags in (("local", ("jobs",)), ("ray", ("address", "cpus", "gpus"))):
        for flag in flags:
            if engine != known.engine and getattr(known, flag) is not None:
                raise InputError(f"--{flag} is for --engine {engine}, not for {known.engine}; omit it")
    for flag in ("jobs", "cpus"):
        number = getattr(known, flag)
        if number is not None and number < 1:
            raise InputError(f"--{flag} is {number}; must be >= 1")
    gpus = known.gpus or 0.0
    if not (gpus == 0 or 0.001 <= gpus < 1 or (gpus >= 1 and gpus.is_integer())):
        raise InputError(f"--gpus is {gpus:g}; must be a whole number >= 0, or a fraction between 0.001 and 1")


def _status(known: argparse.Namespace) -> int:
    study = read_study(known.study)
    found = needed(study, known.study_root)
    print("\n".join(status_lines(study, found.runs, found.words)))
    return 0


def _report(known: argparse.Namespace) -> int:
    study = read_study(known.study)
    folder = known.output or study.folder(known.study_root) / "report"
    if known.source is not None:
        print(write_analysis(*read_analysis(study, known.source), folder, known.twin_axes))
    else:
        print(write_report(study, needed(study, known.study_root).trials, folder, known.twin_axes))
    return 0


def _compare(known: argparse.Namespace) -> int:
    study, trials = study_of_runs(known.runs, known.baseline)
    print(write_report(study, trials, known.output or Path("runs/compare") / study.name, known.twin_axes))
    return 0


def _power(known: argparse.Namespace) -> int:
    study = read_study(known.study)
    print("\n".join(power_lines(study, needed(study, known.study_root).trials, dict(map(_deviation, known.sd)))))
    return 0


def _deviation(given: str) -> tuple[str, float]:
    metric, _, value = given.partition("=")
    try:
        deviation = float(value)
    except ValueError:
        deviation = math.nan
    if not 0 < deviation < math.inf:
        raise InputError(f"--sd is {given!r}; must be METRIC=VALUE with a value above 0, such as accuracy=0.6")
    return metric, deviation


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
