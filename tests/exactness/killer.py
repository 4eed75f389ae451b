"""A callback that ends a run in the middle of things, as a kill would: nothing of ours gets to react."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback


class Killed(BaseException):
    """Not an Exception, so that nobody takes it for an error to be answered."""


class KillAt(Callback):
    """Raises Killed when a hook is called for the nth time.

    Args:
        hook: a hook of Lightning's callbacks.
        time: which call, counted from 1.
    """

    def __init__(self, hook: str, time: int) -> None:
        calls = 0

        def count(*_: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == time:
                raise Killed(f"{hook} {time}")

        setattr(self, hook, count)
