"""The mean of the weights of several checkpoints, as Vaswani et al. (2017) averaged their Transformer's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch


def mean_checkpoint(paths: Sequence[Path]) -> dict[str, Any]:
    """The last checkpoint, its weights replaced by the mean over all.

    Args:
        paths: checkpoints of one run, the oldest first; at least one.

    Returns:
        What `torch.load` gives for the last, with the mean under `state_dict`: taken in float64, in the dtype of each;
        whole numbers, such as counters of steps, are the last's.
    """
    sums: dict[str, torch.Tensor] = {}
    checkpoint: dict[str, Any] = {}
    for path in paths:  # one at a time: a mean of many needs no more memory than of two
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        for name, weight in checkpoint["state_dict"].items():
            if weight.is_floating_point():
                sums[name] = sums[name] + weight.double() if name in sums else weight.double()
    weights = checkpoint["state_dict"]
    checkpoint["state_dict"] = {
        name: (sums[name] / len(paths)).to(weight.dtype) if name in sums else weight for name, weight in weights.items()
    }
    return checkpoint
