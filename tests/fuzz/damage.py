"""Damage to files, and what a reader may make of it: an error of ours, or a read. Never another exception, or a wait.

Examples are the same in every run. By hand, many more: FUZZ_EXAMPLES=5000 python -m pytest tests/fuzz -n0
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from app.errors import InputError
from app.norms import NormError

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", 100))
fuzzed = settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES <= 200,  # in the tests that everybody runs; by hand each run looks elsewhere
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
_PATIENCE_S = 20  # for one example, on a machine that does other things too
_PIECES = [  # that mean something to one reader or another
    *(piece.encode() for piece in ("\0", "\n", "\r", "\r\n", "\n\n", "\t", " ", ",", ";", '"', '""', "'", "\\", "\\n")),
    *(piece.encode() for piece in "# - _ { } [ ] : | % &a *a 0 -1 99999999999999999999 1e999 nan null true".split()),
    *(
        piece.encode()
        for piece in (": ", "<<: *a", "!!int ", "? ", "\\ud800", "\ufeff", "é", "\u2028", "\x85", "\x0c", "٣")
    ),
    *(b"\xff", b"\xfe\xff", b"\xc3", b"\xed\xa0\x80"),
]
Read = TypeVar("Read")


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A valid file after one to four accidents; now and then bytes that never were one."""
    if draw(st.integers(0, 15)) == 0:
        return draw(
            st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass"))
        )
    data = whole
    for _ in range(draw(st.integers(1, 4))):
        data = draw(st.sampled_from(ACCIDENTS))(draw, data)
    return data


def _flip(draw: st.DrawFn, data: bytes) -> bytes:
    at = draw(st.integers(0, max(len(data) - 1, 0)))
    return data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]


def _cut(draw: st.DrawFn, data: bytes) -> bytes:
    return data[: draw(st.integers(0, len(data)))]


def _lose(draw: st.DrawFn, data: bytes) -> bytes:
    begin = draw(st.integers(0, len(data)))
    return data[:begin] + data[begin + draw(st.integers(0, 12)) :]


def _repeat(draw: st.DrawFn, data: bytes) -> bytes:
    begin = draw(st.integers(0, len(data)))
    return data[:begin] + data[begin : begin + draw(st.integers(1, 40))] * 2 + data[begin:]


def _insert(draw: st.DrawFn, data: bytes) -> bytes:
    at = draw(st.integers(0, len(data)))
    return data[:at] + draw(st.sampled_from(_PIECES)) + data[at:]


def _change_lines(draw: st.DrawFn, data: bytes) -> bytes:
    lines = data.split(b"\n")
    at, other = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
    what = draw(st.sampled_from(["drop", "double", "swap", "field"]))
    if what == "drop":
        del lines[at]
    elif what == "double":
        lines.insert(at, lines[other])
    elif what == "swap":
        lines[at], lines[other] = lines[other], lines[at]
    else:
        mark = draw(st.sampled_from([b"\t", b",", b" ", b": "]))
        fields = lines[at].split(mark)
        fields[draw(st.integers(0, len(fields) - 1))] = draw(st.sampled_from([b"", *_PIECES]))
        lines[at] = mark.join(fields)
    return b"\n".join(lines)


ACCIDENTS = [_flip, _cut, _lose, _repeat, _insert, _insert, _change_lines, _change_lines]


def outcome(read: Callable[[], Read], *named: str | Path) -> Read | None:
    """What a reader gives; None where it refuses, in one or two lines that say which file and what to do.

    Args:
        read: calls the reader.
        named: what an error must name one of; nothing, where there is no file.
    """
    try:
        with within(_PATIENCE_S):
            return read()
    except (InputError, NormError) as error:
        said = str(error)
        assert 1 <= len(said.splitlines()) <= 2 and all(map(str.isprintable, said.split("\n"))), said
        assert not named or any(str(name) in said for name in named), said
        return None


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Raise TimeoutError where a reader hangs; on systems that can tell."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def raise_timeout(*_: Any) -> None:
        raise TimeoutError(f"no answer within {seconds} s")

    before = signal.signal(signal.SIGALRM, raise_timeout)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
