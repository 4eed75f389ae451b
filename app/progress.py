"""Progress of long phases: on a terminal a bar, elsewhere a line every half a minute, of short ones nothing."""

from __future__ import annotations

import sys


def bar_wanted() -> bool:
    """Whether standard output and standard error are a terminal that can show a progress bar."""
    return sys.stderr.isatty() and sys.stdout.isatty()
