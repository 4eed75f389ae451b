"""What reaches the person at the terminal, and what does not."""

from __future__ import annotations

import logging
import sys
import warnings

from pytorch_lightning.utilities import rank_zero_only


def speak_plainly(command: str | None) -> None:
    """Set up what is said: our own lines as they are, of the libraries only what a person should act on.

    Args:
        command: fit, validate, test or predict; predict's standard output is for predictions.
    """
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    handler = logging.StreamHandler(sys.stderr if command == "predict" else sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("app")
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO if not rank_zero_only.rank else logging.WARNING)
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # batches are made whole, far faster than a step
        ".*smaller than the logging interval.*",
        ".*is a GPU available but not used.*",
        ".*your dataloader is not resumable.*",  # the batch plan is a function of the position: it is
        ".*callbacks used to create the checkpoint.*",  # those of fit; test and predict need the weights alone
        ".*LeafSpec.* is deprecated.*",  # Lightning 2.6.6 with torch 2.13
    ):
        warnings.filterwarnings("ignore", message=message)
