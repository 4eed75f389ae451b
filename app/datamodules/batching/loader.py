"""PlanLoader: torch's DataLoader, whose faults come where a batch is asked for."""

from __future__ import annotations

import signal
import threading
from typing import Any

from torch.utils.data import DataLoader

from app.batches import Batch


class PlanLoader(DataLoader[Batch]):
    """Tells of a loader process that has died when its next batch is due.

    Torch raises it from a handler of signals besides, wherever Python then stands: in the midst of a checkpoint, say,
    or of the answer to another error. A batch that does not come is missed after five seconds, when torch looks.
    """

    def __iter__(self) -> Any:
        if threading.current_thread() is not threading.main_thread():  # torch installs no handler there
            return super().__iter__()
        handler = signal.getsignal(signal.SIGCHLD) or signal.SIG_DFL  # None: not of Python
        batches = super().__iter__()
        signal.signal(signal.SIGCHLD, handler)
        return batches
