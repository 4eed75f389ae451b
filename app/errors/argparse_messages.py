"""Flags of a command: argparse's own words about a wrong one, in one line of ours."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable
from typing import Any, NoReturn

from app.errors import InputError

_KINDS = {"int": "a whole number", "float": "a number"}


class StrictArgumentParser(argparse.ArgumentParser):
    """A parser that raises instead of printing its usage and ending the process, and takes no half-typed flag."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **kwargs})

    def error(self, message: str) -> NoReturn:
        """Raise InputError with the message in plain words."""
        raise InputError(rewrite_argparse_error(message, self._flags(), f"see {self.prog} --help"))

    def _flags(self) -> list[str]:
        """Its flags and those of its commands."""
        flags: list[str] = []
        for action in self._actions:
            flags += action.option_strings
            for parser in (action.choices or {}).values() if isinstance(action.choices, dict) else ():
                flags += parser._flags()
        return flags


def rewrite_argparse_error(message: str, known: Iterable[str], where_help_is: str) -> str:
    """What argparse says of a command line, as what came, what is allowed and what to do.

    Args:
        message: of argparse, or of jsonargparse, which says some of it in the same words.
        known: flags that there are.
        where_help_is: what to do if nothing better is known.
    """
    message = " ".join(message.split())
    if found := re.search(r"argument (?:sub)?command: invalid choice: '?(.*?)'? \(choose from (.*)\)", message):
        choices = _listed(found[2])
        return f"there is no command {found[1]!r}{did_you_mean(found[1], choices)} allowed: {', '.join(choices)}"
    if found := re.search(r'expected "subcommand" to be one of {(.*?)}', message):
        return f"a command is missing; give one of {', '.join(_listed(found[1]))}"
    if found := re.search(r"argument (\S+): invalid choice: (.*) \(choose from (.*)\)", message):
        choices = _listed(found[3])
        return f"{found[1]} is {found[2]}{did_you_mean(found[2].strip(chr(39)), choices)} allowed: {', '.join(choices)}"
    if found := re.search(r"argument (\S+): invalid (\w+) value: (.*)", message):
        return f"{found[1]} is {found[3]}; allowed: {_KINDS.get(found[2], found[2])}"
    if found := re.search(r"argument (\S+): expected (?:one|at least one) argument", message):
        return f"{found[1]} stands without a value; give one behind it"
    if found := re.search(r"argument (\S+): ignored explicit argument (.*)", message):
        return f"{found[1]} takes no value, and got {found[2]}; leave the value out"
    if found := re.search(r"the following arguments are required: (.*)", message):
        return f"{found[1]} is missing; {where_help_is}"
    if found := re.search(r"unrecognized arguments: (\S*)", message):
        word = found[1].partition("=")[0]
        if word.startswith("-"):
            return f"there is no flag {word}{did_you_mean(word, known)} {where_help_is}"
        return f"{found[1]!r} stands alone and belongs to no flag; {where_help_is}"
    return f"{message}; {where_help_is}"


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """`; did you mean x?`, or a semicolon where nothing is near."""
    near = difflib.get_close_matches(given, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ";"


def _listed(choices: str) -> list[str]:
    return [choice.strip(" '\"") for choice in choices.split(",")]
