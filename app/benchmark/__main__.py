"""`python -m app.benchmark norms|training|predict|joeynmt|scaling`: see `python -m app.benchmark --help`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from app.benchmark.fit import CLASSIFICATION, CONFIGS
from app.benchmark.joeynmt import against_joeynmt
from app.benchmark.norms import SHAPES, table
from app.benchmark.predict import predictions
from app.benchmark.scaling import processes, size_scaling
from app.benchmark.training import against_bare_loop, against_trainer, check_trainer, machine
from app.errors import DEBUG, InputError, print_answer, take_debug
from app.errors.argparse_messages import StrictArgumentParser
from app.errors.did_you_mean import did_you_mean
from app.norms import NormError, norm_class

EXIT_INPUT = 2
LICENSE = Path(__file__).parents[2] / "LICENSE"  # the one text that every checkout has


def main(arguments: Sequence[str]) -> int:
    """Run a benchmark and print its tables; the exit status is 0, or 2 for bad input."""
    arguments, debug = take_debug(arguments)
    try:
        known, of_train = _parser().parse_known_args(arguments)
        _check(known, of_train)
        for line in known.tables(known, of_train):
            print(line, flush=True)
    except (InputError, NormError) as error:
        print_answer(str(error), error, debug)
        return EXIT_INPUT
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = StrictArgumentParser(prog="python -m app.benchmark", description="Speed, beside other code.")
    parser.add_argument(DEBUG, action="store_true", help="show the traceback behind an error's one-line answer")
    commands = parser.add_subparsers(dest="command", required=True)
    norms = commands.add_parser("norms", help="forward and backward of each norm against torch's layer norm")
    norms.add_argument("--norms", nargs="+", default=[], help="names, with their formulas; all by default")
    norms.add_argument(
        "--shapes", nargs="+", default=["x".join(map(str, shape)) for shape in SHAPES], help="as 32x64x128"
    )
    norms.add_argument("--threads", nargs="+", type=int, default=sorted({1, torch.get_num_threads()}))
    norms.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    norms.add_argument("--rounds", type=int, default=25, help="in which each has a turn")
    norms.add_argument("--eager", action="store_true", help="leave torch.compile out, which takes most of the time")
    norms.set_defaults(tables=_norms)
    training = commands.add_parser(
        "training", help="fit with its callbacks against a bare loop, and against Hugging Face's Trainer"
    )
    training.add_argument("--configs", nargs="+", default=list(CONFIGS), help="that are timed; one for each task")
    training.add_argument(
        "--repeats",
        type=int,
        default=3,
        help="epochs beside Hugging Face's Trainer, if the quickstart is timed; 0 for none",
    )
    training.set_defaults(tables=_training)
    joey = commands.add_parser("joeynmt", help="translation (Multi30k) beside JoeyNMT, which has its own environment")
    joey.add_argument("--python", required=True, help="interpreter of that environment")
    joey.add_argument("--repeats", type=int, default=3, help="runs of both")
    joey.set_defaults(tables=_joeynmt)
    predict = commands.add_parser("predict", help="words a second of predict, with a run that has been trained")
    predict.add_argument("run", type=Path, help="its folder")
    predict.add_argument("--input", type=Path, default=LICENSE, help="a text, one record a line; ours by default")
    predict.add_argument("--repeats", type=int, default=3)
    predict.set_defaults(tables=_predict)
    scaling = commands.add_parser("scaling", help="cost by layers, width and batch, and by processes")
    scaling.set_defaults(tables=_scaling)
    for command, blocks in ((training, 5), (scaling, 3)):
        command.add_argument("--blocks", type=int, default=blocks, help="that are timed of each")
    for command, updates in ((training, 50), (scaling, 50), (joey, 100)):
        command.add_argument("--updates", type=int, default=updates, help="of a block, or of a run of joeynmt")
        command.epilog = "Further flags go to train.py fit, such as --norm adanorm or --data.cache_dir FOLDER."
    return parser


def _check(known: argparse.Namespace, of_train: Sequence[str]) -> None:
    for name, least in (("blocks", 1), ("updates", 1), ("repeats", 0), ("rounds", 1)):
        value = getattr(known, name, least)
        if value < least:
            raise InputError(f"--{name} is {value}; allowed: whole numbers from {least}")
    for threads in getattr(known, "threads", []):
        if threads < 1:
            raise InputError(f"--threads is {threads}; allowed: whole numbers from 1")
    if known.command == "norms" and of_train:
        near = did_you_mean(of_train[0], [f"--{name}" for name in vars(known) if name not in ("command", "tables")])
        raise InputError(f"there is no flag {of_train[0]}{near} see python -m app.benchmark norms --help")
    stray = [word for word in of_train[:1] if not word.startswith("--")]
    if stray:
        raise InputError(f"{stray[0]!r} is no flag; further flags go to train.py, such as --norm adanorm")
    for path in (*map(Path, getattr(known, "configs", [])), *([known.input] if known.command == "predict" else [])):
        if not path.is_file():
            raise InputError(f"{path}: no such file; paths are from where the benchmark is started")


def _norms(known: argparse.Namespace, of_train: Sequence[str]) -> Iterator[str]:
    for name in known.norms:
        norm_class(name)
    if known.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device is cuda, and torch finds no GPU here; leave it out, or give cpu")
    shapes = [_shape(text) for text in known.shapes]
    yield f"{machine()}; medians of {known.rounds} rounds, relative to F.layer_norm in the same round\n"
    for shape in shapes:
        for threads in known.threads:
            yield from table(shape, threads, known.device, known.rounds, known.norms, not known.eager)


def _shape(text: str) -> tuple[int, ...]:
    sizes = text.split("x")
    if len(sizes) < 2 or not all(size.isdecimal() and int(size) for size in sizes):
        raise InputError(f"shape {text!r}; allowed: sizes from 1 with x between them, such as 32x64x128")
    return tuple(map(int, sizes))


def _training(known: argparse.Namespace, of_train: Sequence[str]) -> Iterator[str]:
    beside_trainer = known.repeats and CLASSIFICATION in known.configs
    if beside_trainer:
        check_trainer()
    yield f"{machine()}; {known.blocks} blocks of updates, medians (quartiles)\n"
    yield from against_bare_loop(known.configs, of_train, known.blocks, known.updates)
    if beside_trainer:
        yield ""
        yield from against_trainer(of_train, known.repeats)


def _predict(known: argparse.Namespace, of_train: Sequence[str]) -> Iterator[str]:
    if not known.repeats:
        raise InputError("--repeats is 0; allowed: whole numbers from 1")
    yield f"{machine()}; medians (lowest to highest)\n"
    yield from predictions(known.run, known.input, of_train, known.repeats)


def _joeynmt(known: argparse.Namespace, of_train: Sequence[str]) -> Iterator[str]:
    if not known.repeats:
        raise InputError("--repeats is 0; allowed: whole numbers from 1")
    if known.updates % 10:
        raise InputError(f"--updates is {known.updates}; allowed: multiples of 10, after which JoeyNMT says its speed")
    yield f"{machine()}; medians (lowest to highest)\n"
    yield from against_joeynmt(known.python, of_train, known.updates, known.repeats)


def _scaling(known: argparse.Namespace, of_train: Sequence[str]) -> Iterator[str]:
    yield f"{machine()}; {known.blocks} blocks of {known.updates} updates, medians (quartiles)\n"
    yield from size_scaling(of_train, known.blocks, known.updates)
    yield ""
    yield from processes(of_train, known.blocks, known.updates)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
