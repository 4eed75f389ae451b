"""`python -m app.export RUN --to FOLDER`: see `python -m app.export --help`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from app.backbones import check_is_new
from app.cli.output import configure_logging
from app.cli.parser_errors import explain
from app.errors import DEBUG, InputError, print_answer, take_debug
from app.errors.argparse_messages import StrictArgumentParser
from app.errors.stop_signals import until_stopped
from app.export.folder import write_folder
from app.export.onnx_file import check_target, write_onnx
from app.export.run import read_run

EXIT_INPUT = 2


def main(arguments: Sequence[str]) -> int:
    """Export a run and return the exit status: 0, 2 for bad input, 128 + signal for a stopped one."""
    return until_stopped(lambda: _main(arguments), "in export; nothing is written")


def _main(arguments: Sequence[str]) -> int:
    arguments, debug = take_debug(arguments)
    configure_logging("test")
    try:
        _export(_parser().parse_args(arguments))
    except Exception as error:
        message = explain(error)
        if message is None:
            raise  # a bug of ours, for which the traceback is needed
        print_answer(message, error, debug)
        return EXIT_INPUT
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = StrictArgumentParser(
        prog="python -m app.export", description="Export a finished run as a Hugging Face folder or as an ONNX file."
    )
    parser.add_argument(DEBUG, action="store_true", help="also show the traceback of an error")
    parser.add_argument("run", type=Path, help="run folder, which train.py fit printed at its end")
    parser.add_argument(
        "--to", required=True, help="a new folder; or onnx for RUN/model.onnx; or a new file that ends in .onnx"
    )
    parser.add_argument("--ckpt_path", help="best (the default), last, or the path of a checkpoint")
    parser.add_argument(
        "--average_checkpoints", type=int, metavar="N", help="export the mean of the weights of the last N validations"
    )
    return parser


def _export(known: argparse.Namespace) -> None:
    if known.ckpt_path is not None and known.average_checkpoints is not None:
        raise InputError("--ckpt_path and --average_checkpoints both choose the weights; pass only one of them")
    if known.average_checkpoints is not None and known.average_checkpoints < 1:
        raise InputError(f"--average_checkpoints is {known.average_checkpoints}; must be >= 1")
    to = known.run / "model.onnx" if known.to == "onnx" else Path(known.to)
    is_onnx = to.suffix == ".onnx"
    (check_target if is_onnx else check_is_new)(to)  # before anything is read or built
    run = read_run(known.run, known.ckpt_path, known.average_checkpoints)
    try:
        lines = write_onnx(run, to) if is_onnx else write_folder(run, to)
    except OSError as error:
        raise InputError(
            f"--to {known.to}: cannot be written ({error.strerror or error}); choose another place"
        ) from error
    print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
