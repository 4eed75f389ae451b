"""Progress of long phases: on a terminal a bar, elsewhere a line every half a minute; nothing of a short phase."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

EVERY_S = 30.0  # between two lines
_BAR_EVERY_S = 1.0

log = logging.getLogger(__name__)


@contextmanager
def phase(what: str) -> Iterator[None]:
    """Show that a phase without countable steps goes on, and since when; also a decorator of a function that is one.

    Args:
        what: what is being done, such as `reading the data`.
    """
    ended = threading.Event()
    reporter = threading.Thread(target=_report, args=(what, ended), daemon=True)
    reporter.start()
    try:
        yield
    finally:
        ended.set()
        reporter.join()


def bar_wanted() -> bool:
    """Whether standard output and standard error are a terminal that can show a progress bar."""
    return sys.stderr.isatty() and sys.stdout.isatty()


def minutes(seconds: float) -> str:
    """Seconds as minutes:seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _report(what: str, ended: threading.Event) -> None:
    if not log.isEnabledFor(logging.INFO):  # another process of the run reports
        return
    started_at = time.monotonic()

    def so_far() -> str:
        return f"{what}: {minutes(time.monotonic() - started_at)} so far"

    if not bar_wanted():
        while not ended.wait(EVERY_S):
            log.info("%s", so_far())
    elif not ended.wait(_BAR_EVERY_S):
        with tqdm(desc=so_far(), bar_format="{desc}", leave=False) as bar:
            while not ended.wait(_BAR_EVERY_S):
                bar.set_description_str(so_far())
