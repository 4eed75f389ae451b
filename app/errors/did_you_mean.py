"""The hint for a name that is nearly a known one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The end of a clause about an unknown name: `; did you mean 'x'?`, or a semicolon if no known name is near."""
    names = list(known)
    near = difflib.get_close_matches(given, names, n=1) or difflib.get_close_matches(given.lower(), names, n=1)
    return f"; did you mean {near[0]!r}?" if near else ";"
