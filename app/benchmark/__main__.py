"""`python -m app.benchmark norms|training|predict|joeynmt|scaling|plot`: see `python -m app.benchmark --help`."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from app.benchmark.fit import CLASSIFICATION, CONFIGS
from app.benchmark.joeynmt import against_joeynmt
from app.benchmark.norms import SHAPES, time_norms
from app.benchmark.predict import time_predict
from app.benchmark.scaling import processes, size_scaling
from app.benchmark.tables import Row, print_tables
from app.benchmark.training import against_bare_loop, against_trainer, check_trainer, machine
from app.errors import DEBUG, InputError, print_answer, take_debug
from app.errors.argparse_messages import StrictArgumentParser
from app.errors.did_you_mean import did_you_mean
from app.errors.stop_signals import until_stopped
from app.figures import draw_norm_times
from app.norms import NormError, norm_class

EXIT_INPUT = 2
LICENSE = Path(__file__).parents[2] / "LICENSE"  # the one text that every checkout has


def main(arguments: Sequence[str]) -> int:
    """Run a benchmark and print its tables; the exit status is 0, 2 for bad input, 128 + signal for a stopped one."""
    return until_stopped(lambda: _main(arguments), "in the benchmark; start it again")


def _main(arguments: Sequence[str]) -> int:
    arguments, debug = take_debug(arguments)
    try:
        known, of_train = _parser().parse_known_args(arguments)
        _check(known, of_train)
        print_tables(known.lines(known, of_train), known.csv)
    except (InputError, NormError) as error:
        print_answer(str(error), error, debug)
        return EXIT_INPUT
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = StrictArgumentParser(prog="python -m app.benchmark", description="Measure speed against other code.")
    parser.add_argument(DEBUG, action="store_true", help="show the traceback of an error")
    parser.set_defaults(csv=None)
    commands = parser.add_subparsers(dest="command", required=True)
    norms = commands.add_parser("norms", help="forward and backward of each norm against torch's layer norm")
    norms.add_argument("--norms", nargs="+", default=[], help="names, with their plain formulas; default: all")
    norms.add_argument(
        "--shapes", nargs="+", default=["x".join(map(str, shape)) for shape in SHAPES], help="such as 32x64x128"
    )
    norms.add_argument("--threads", nargs="+", type=int, default=sorted({1, torch.get_num_threads()}))
    norms.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    norms.add_argument("--rounds", type=int, default=25, help="timed rounds, in each of which every norm has a turn")
    norms.add_argument("--eager", action="store_true", help="skip torch.compile, which takes most of the time")
    norms.set_defaults(lines=_norms)
    training = commands.add_parser(
        "training", help="fit with its callbacks against a bare loop and Hugging Face's Trainer"
    )
    training.add_argument("--configs", nargs="+", default=list(CONFIGS), help="configs to time; default: one per task")
    training.add_argument(
        "--repeats",
        type=int,
        default=3,
        help="epochs by Hugging Face's Trainer, if the quickstart is timed; 0 skips it",
    )
    training.set_defaults(lines=_training)
    joey = commands.add_parser("joeynmt", help="translation (Multi30k) against JoeyNMT, in an environment of its own")
    joey.add_argument("--python", required=True, help="interpreter of that environment")
    joey.add_argument("--repeats", type=int, default=3, help="runs of each")
    joey.set_defaults(lines=_joeynmt)
    predict = commands.add_parser("predict", help="words per second of predict by a trained run")
    predict.add_argument("run", type=Path, help="the run's folder")
    predict.add_argument("--input", type=Path, default=LICENSE, help="text file, one record per line; default: LICENSE")
    predict.add_argument("--repeats", type=int, default=3)
    predict.set_defaults(lines=_predict)
    scaling = commands.add_parser("scaling", help="cost by layers, width, batch size and processes")
    scaling.set_defaults(lines=_scaling)
    plot = commands.add_parser("plot", help="draw norms.csv or norms_eager.csv as an .svg next to it")
    plot.add_argument("table", type=Path, help="a file that `norms --csv` wrote")
    plot.set_defaults(lines=_plot)
    for command, blocks in ((training, 5), (scaling, 3)):
        command.add_argument("--blocks", type=int, default=blocks, help="timed blocks of updates of each config")
    for command, updates in ((training, 50), (scaling, 50), (joey, 100)):
        command.add_argument("--updates", type=int, default=updates, help="updates per block, or per run of joeynmt")
        command.epilog = "Other flags are passed to train.py fit, such as --norm adanorm or --data.cache_dir FOLDER."
    for command in (norms, training, joey, predict, scaling):
        command.add_argument(
            "--csv", type=Path, metavar="FOLDER", help="also write each table as TABLE.csv into FOLDER"
        )
    return parser


def _check(known: argparse.Namespace, of_train: Sequence[str]) -> None:
    least_repeats = 0 if known.command == "training" else 1
    for name, least in (("blocks", 1), ("updates", 1), ("repeats", least_repeats), ("rounds", 1), ("threads", 1)):
        values = getattr(known, name, least)
        for value in values if isinstance(values, list) else [values]:
            if value < least:
                raise InputError(f"--{name} is {value}; must be >= {least}")
    if known.command in ("norms", "plot") and of_train:
        near = did_you_mean(of_train[0], [f"--{name}" for name in vars(known) if name not in ("command", "lines")])
        raise InputError(f"unknown flag {of_train[0]}{near} see python -m app.benchmark {known.command} --help")
    if of_train and not of_train[0].startswith("--"):
        raise InputError(f"unexpected argument {of_train[0]!r}; other flags go to train.py, such as --norm adanorm")
    files = [*getattr(known, "configs", []), *(vars(known)[name] for name in ("input", "table") if name in known)]
    for path in files:
        if not Path(path).is_file():
            raise InputError(f"{path}: no such file; paths are relative to the current folder")
    if known.csv is not None and not known.csv.is_dir():
        raise InputError(f"--csv {known.csv}: no such folder; create it first")


def _norms(known: argparse.Namespace, of_train: Sequence[str]) -> Iterator[str | Row]:
    for name in known.norms:
        norm_class(name)
    if known.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device is cuda, and torch finds no GPU here; omit it, or pass cpu")
    shapes = [_shape(text) for text in known.shapes]
    yield f"{machine()}; medians (quartiles) of {known.rounds} rounds, relative to F.layer_norm in the same round\n"
    for shape in shapes:
        for threads in known.threads:
            yield from time_norms(shape, threads, known.device, known.rounds, known.norms, not known.eager)


def _shape(text: str) -> tuple[int, ...]:
    sizes = text.split("x")
    if len(sizes) < 2 or not all(size.isdecimal() and int(size) for size in sizes):
        raise InputError(f"--shapes: {text!r} is not a shape; must be sizes >= 1 joined by x, such as 32x64x128")
    return tuple(map(int, sizes))


def _training(known: argparse.Namespace, of_train: Sequence[str]) -> Iterator[str | Row]:
    with_trainer = known.repeats and CLASSIFICATION in known.configs
    if with_trainer:
        check_trainer()
    yield f"{machine()}; {known.blocks} blocks of updates, medians (quartiles)\n"
    yield from against_bare_loop(known.configs, of_train, known.blocks, known.updates)
    if with_trainer:
        yield from against_trainer(of_train, known.repeats)


def _predict(known: argparse.Namespace, of_train: Sequence[str]) -> Iterator[str | Row]:
    yield f"{machine()}; medians (lowest to highest)\n"
    yield from time_predict(known.run, known.input, of_train, known.repeats)


def _joeynmt(known: argparse.Namespace, of_train: Sequence[str]) -> Iterator[str | Row]:
    if known.updates % 10:
        raise InputError(f"--updates is {known.updates}; must be a multiple of 10, at which JoeyNMT logs its speed")
    yield f"{machine()}; medians (lowest to highest)\n"
    yield from against_joeynmt(known.python, of_train, known.updates, known.repeats)


def _scaling(known: argparse.Namespace, of_train: Sequence[str]) -> Iterator[str | Row]:
    yield f"{machine()}; {known.blocks} blocks of {known.updates} updates, medians (quartiles)\n"
    yield from size_scaling(of_train, known.blocks, known.updates)
    yield from processes(of_train, known.blocks, known.updates)


def _plot(known: argparse.Namespace, of_train: Sequence[str]) -> Iterator[str]:
    path = known.table.with_suffix(".svg")
    try:
        with known.table.open(encoding="utf-8", newline="") as file:
            draw_norm_times(list(csv.DictReader(file)), path)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{known.table} is not a table of `python -m app.benchmark norms --csv FOLDER`") from error
    yield f"wrote {path}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
