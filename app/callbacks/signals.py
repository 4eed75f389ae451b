"""StopAtSignals: a signal ends a command in the same way in all its phases, whatever Lightning would do at it."""

from __future__ import annotations

import signal
import threading
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from app.errors.stop_signals import StoppedError


class StopAtSignals(Callback):
    """Takes SIGTERM back from Lightning, which would answer it when a test or an epoch has ended.

    Lightning puts its handler in front of the one of the innermost `StopSignals` block each time that it starts; that
    block's handler is still the one of SIGINT.
    """

    def on_sanity_check_start(self, *_: Any) -> None:
        """Take it back."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))

    on_train_start = on_validation_start = on_test_start = on_predict_start = on_sanity_check_start

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop the processes that this one has started, too; where all stop together, a signal would be too much."""
        launcher = trainer.strategy.launcher
        if isinstance(exception, StoppedError) and not exception.is_agreed and launcher is not None:
            launcher.kill(signal.SIGTERM)
