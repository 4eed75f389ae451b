"""Callbacks that strike at a chosen moment, and the one that ends a run as a kill would: nothing of ours can react."""

from __future__ import annotations

import signal
from typing import Any

from pytorch_lightning import Callback


class Killed(BaseException):
    """Not an Exception, so that nobody takes it for an error to be answered."""


class At(Callback):
    """Calls `strike` when a hook is called for the nth time.

    Args:
        hook: a hook of Lightning's callbacks.
        time: which call, counted from 1.
    """

    def __init__(self, hook: str, time: int) -> None:
        self.moment = f"{hook} {time}"
        calls = 0

        def count(*_: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == time:
                self.strike()

        setattr(self, hook, count)

    def strike(self) -> None:
        raise NotImplementedError


class KillAt(At):
    """Raises Killed at that moment."""

    def strike(self) -> None:
        raise Killed(self.moment)


class SignalAt(At):
    """Sends a signal to this process at that moment.

    Args:
        hook: a hook of Lightning's callbacks.
        time: which call, counted from 1.
        number: of the signal.
    """

    def __init__(self, hook: str, time: int, number: int) -> None:
        super().__init__(hook, time)
        self.number = number

    def strike(self) -> None:
        signal.raise_signal(self.number)
