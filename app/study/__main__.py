"""`python -m app.study inspect ...`: see `python -m app.study --help`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from app.errors import InputError
from app.study.inspection import inspect

EXIT_INPUT = 2


def main(arguments: Sequence[str]) -> int:
    """Run a command; the exit status is 0, or 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m app.study", description="Look at a model before it is trained.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "inspect",
        help="the norms of a model, its parameters, and activations and gradients by depth on one real batch",
        usage="%(prog)s --config FILE [--norm NAME] [any argument of train.py fit]",
        add_help=False,
    )
    known, rest = parser.parse_known_args(arguments)
    assert known.command == "inspect"
    try:
        return inspect(rest)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_INPUT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
