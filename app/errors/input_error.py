"""The error of a user's mistake, and how every command line answers it.

An answer is a message without a traceback, and exit status 2, so the message must say in one or two lines what is
wrong, where, what was expected and what to do. Any other exception is a defect of the program. `--debug`, which every
command takes, shows the traceback before the answer too.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

DEBUG = "--debug"


class InputError(ValueError):
    """A mistake in a flag, a YAML file, a file or a line of a file; its message is for the user who made it."""

    def __str__(self) -> str:
        """The message, with control characters and lone surrogates of broken files escaped."""
        return "".join(
            letter if letter.isprintable() or letter == "\n" else letter.encode("unicode_escape").decode()
            for letter in super().__str__()
        )


def take_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """The arguments without `--debug`, and whether it was among them: it belongs to a call, not to a run's settings."""
    rest = [argument for argument in arguments if argument != DEBUG]
    return rest, len(rest) < len(arguments)


def print_answer(message: str, error: BaseException, debug: bool) -> None:
    """Print the answer to an error on stderr: the message, and before it the traceback if it was asked for."""
    if debug:
        traceback.print_exception(error)
    print(f"error: {message}", file=sys.stderr, flush=True)
