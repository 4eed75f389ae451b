"""A parser of flags that answers a wrong command line in one line and with exit status 2, as all else is answered."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from typing import Any, NoReturn

from app.errors.did_you_mean import did_you_mean
from app.errors.input_error import InputError


class StrictArgumentParser(argparse.ArgumentParser):
    """A parser that raises instead of printing its usage and ending the process, and takes no abbreviated flag."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **kwargs})

    def error(self, message: str) -> NoReturn:
        """Raise InputError with the message and where to find help."""
        raise InputError(rewrite_argparse_error(message, self._flags(), f"see {self.prog} --help"))

    def _flags(self) -> list[str]:
        """Its flags and those of its commands."""
        flags: list[str] = []
        for action in self._actions:
            flags += action.option_strings
            for parser in (action.choices or {}).values() if isinstance(action.choices, dict) else ():
                flags += parser._flags()
        return flags


def rewrite_argparse_error(message: str, known: Iterable[str], help_hint: str) -> str:
    """A message of argparse (or jsonargparse) as one line with a remedy; only an unknown flag gets words of ours.

    Args:
        message: of the parser, which has the place, the value and what is expected.
        known: flags that exist.
        help_hint: where the user finds the flags.
    """
    message = " ".join(message.split()).rstrip(".")
    if found := re.fullmatch(r"unrecognized arguments: ([^\s=]*).*", message):
        if found[1].startswith("-"):
            return f"unknown flag {found[1]}{did_you_mean(found[1], known)} {help_hint}"
        return f"unexpected argument {found[1]!r}; {help_hint}"
    return f"{message}; {help_hint}"
