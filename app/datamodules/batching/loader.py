"""PlanLoader: torch's DataLoader, whose errors are raised where the next batch is requested."""

from __future__ import annotations

import signal
import threading
from typing import Any

from torch.utils.data import DataLoader

from app.batches import Batch


class PlanLoader(DataLoader[Batch]):
    """A DataLoader that reports the death of a loader process when its next batch is requested.

    Torch also reports it from a signal handler, wherever Python is at that moment, such as in the middle of writing a
    checkpoint or reporting another error. This class removes the handler; torch notices a missing batch after five
    seconds anyway.
    """

    def __iter__(self) -> Any:
        if threading.current_thread() is not threading.main_thread():  # torch installs no handler there
            return super().__iter__()
        handler = signal.getsignal(signal.SIGCHLD) or signal.SIG_DFL  # None: not set by Python
        batches = super().__iter__()
        signal.signal(signal.SIGCHLD, handler)
        return batches
