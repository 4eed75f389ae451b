"""`python -m app.study run|status|report|inspect`: see `python -m app.study --help`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from app.errors import InputError
from app.study.inspection import inspect
from app.study.local import run_cells
from app.study.plan import read_study
from app.study.report import write_report
from app.study.table import Watch, status_lines

EXIT_INPUT, EXIT_FAILED = 2, 1


def main(arguments: Sequence[str]) -> int:
    """Run a command; the exit status is 0, 1 for a study with failed cells, 2 for bad input, 128 + the signal."""
    if arguments[:1] == ["inspect"]:  # whose arguments are train.py's
        return _answered(lambda: inspect(arguments[1:]))
    known = _parser().parse_args(arguments)
    return _answered(lambda: known.function(known))


def _answered(command: Callable[[], int]) -> int:
    try:
        return command()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m app.study", description="Many runs, one answer.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "inspect", help="a model before it is trained: norms, parameters, activations and gradients; arguments of fit"
    )
    run = commands.add_parser("run", help="run all cells of a study that are not done")
    run.add_argument("--jobs", type=int, default=1, help="cells that run at a time; the cores are divided between them")
    run.add_argument("--dry-run", action="store_true", help="print the cells' commands, and run nothing")
    run.set_defaults(function=_run)
    status = commands.add_parser("status", help="where each cell of a study stands")
    status.set_defaults(function=_status)
    report = commands.add_parser("report", help="write the answer of a study: report.html and its tables and figures")
    report.set_defaults(function=_report)
    for command in (run, status, report):
        command.add_argument("study", type=Path, help="YAML file of the study")
        command.add_argument("--study_root", type=Path, default=Path("runs/studies"), help="folder of all studies")
    return parser


def _run(known: argparse.Namespace) -> int:
    if known.jobs < 1:
        raise InputError(f"--jobs is {known.jobs}; allowed: whole numbers from 1")
    study = read_study(known.study)
    cells = study.cells(known.study_root)
    if known.dry_run:
        print("\n".join(cell.command for cell in cells))
        return 0
    signal.signal(signal.SIGTERM, _end)
    watch = Watch(study, cells)
    try:
        with watch:
            run_cells(cells, study.retries, known.jobs, watch.say, watch.look)
    except (KeyboardInterrupt, SystemExit) as ended:
        number = signal.SIGINT if isinstance(ended, KeyboardInterrupt) else signal.SIGTERM
        print("stopped; the same command goes on where the cells stand", file=sys.stderr)
        return 128 + number
    print("\n".join(status_lines(study, cells)))
    return EXIT_FAILED if watch.has_failed else 0


def _status(known: argparse.Namespace) -> int:
    study = read_study(known.study)
    print("\n".join(status_lines(study, study.cells(known.study_root))))
    return 0


def _report(known: argparse.Namespace) -> int:
    study = read_study(known.study)
    folder = study.folder(known.study_root)
    print(write_report(study, study.cells(known.study_root), folder / "report"))
    return 0


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
