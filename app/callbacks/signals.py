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
        """Stop the processes that this one has started, too."""
        if isinstance(exception, StoppedError) and trainer.strategy.launcher is not None:
            trainer.strategy.launcher.kill(signal.SIGTERM)
