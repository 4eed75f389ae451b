"""What a person typed or supplied wrongly, and how every command line answers it.

An answer is a message alone (no traceback) and exit status 2, so the message must say in one or two lines what came,
what is allowed and what to do. Anything else that is raised is a defect of ours. `--debug`, which every command takes,
shows the traceback behind an answer too.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

DEBUG = "--debug"


class InputError(ValueError):
    """A fault in a flag, a YAML, a file or a line of a file; the message is meant for the person who made it."""

    def __str__(self) -> str:
        """The message, with control characters and halves of characters out of broken files as escapes."""
        return "".join(
            letter if letter.isprintable() or letter == "\n" else letter.encode("unicode_escape").decode()
            for letter in super().__str__()
        )


def take_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """The arguments without `--debug`, and whether it was among them: it belongs to a call, not to a run's settings."""
    rest = [argument for argument in arguments if argument != DEBUG]
    return rest, len(rest) < len(arguments)


def print_answer(message: str, error: BaseException, debug: bool) -> None:
    """Answer an error on stderr: the message, and before it the traceback if it was asked for."""
    if debug:
        traceback.print_exception(error)
    print(f"error: {message}", file=sys.stderr, flush=True)
