"""`python -m app.export RUN --to FOLDER`: see `python -m app.export --help`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from app.backbones import check_is_new
from app.cli.errors import explain
from app.cli.output import configure_logging
from app.errors import DEBUG, InputError, print_answer, take_debug
from app.errors.argparse_messages import StrictArgumentParser
from app.export.folder import write_folder
from app.export.onnx_file import check_target, write_onnx
from app.export.run import read_run

EXIT_INPUT = 2


def main(arguments: Sequence[str]) -> int:
    """Export a run; the exit status is 0, 2 for bad input, 130 for Ctrl-C."""
    arguments, debug = take_debug(arguments)
    configure_logging("test")
    try:
        _export(_parser().parse_args(arguments))
    except KeyboardInterrupt:
        print("stopped by SIGINT", file=sys.stderr)
        return 128 + signal.SIGINT
    except Exception as error:
        message = explain(error)
        if message is None:
            raise  # a defect of ours, which its traceback helps to find
        print_answer(message, error, debug)
        return EXIT_INPUT
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = StrictArgumentParser(
        prog="python -m app.export", description="A finished run as a Hugging Face folder, or in the ONNX format."
    )
    parser.add_argument(DEBUG, action="store_true", help="show the traceback behind an error's one-line answer")
    parser.add_argument("run", type=Path, help="folder of the run, as train.py fit has left it")
    parser.add_argument(
        "--to", required=True, help="new folder; or onnx for RUN/model.onnx, or a file that ends in .onnx"
    )
    parser.add_argument("--ckpt_path", help="best (default), last, or the path of a checkpoint")
    parser.add_argument(
        "--average_checkpoints", type=int, help="take the mean of the weights of the last so many validations"
    )
    return parser


def _export(known: argparse.Namespace) -> None:
    if known.ckpt_path is not None and known.average_checkpoints is not None:
        raise InputError("--ckpt_path and --average_checkpoints both say which weights to take; leave one of them out")
    if known.average_checkpoints is not None and known.average_checkpoints < 1:
        raise InputError(f"--average_checkpoints is {known.average_checkpoints}; allowed: whole numbers from 1")
    to = known.run / "model.onnx" if known.to == "onnx" else Path(known.to)
    is_onnx = to.suffix == ".onnx"
    (check_target if is_onnx else check_is_new)(to)  # before anything is read or built
    run = read_run(known.run, known.ckpt_path, known.average_checkpoints)
    try:
        lines = write_onnx(run, to) if is_onnx else write_folder(run, to)
    except OSError as error:
        raise InputError(
            f"--to {known.to}: cannot be written ({error.strerror or error}); give another place"
        ) from error
    print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
