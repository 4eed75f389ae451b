"""Rows of different lengths as one tensor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def right_pad(rows: Sequence[np.ndarray], fill: int) -> Tensor:
    """(B, longest, ...) int64: B arrays, padded with `fill` to the largest size in every dimension."""
    shape = np.max([row.shape for row in rows], axis=0)
    shape[0] = max(shape[0], 1)  # no model takes rows of length 0
    padded = np.full((len(rows), *shape), fill, dtype=np.int64)
    for place, row in enumerate(rows):
        padded[(place, *map(slice, row.shape))] = row
    return torch.from_numpy(padded)


def padding_mask(rows: Sequence[np.ndarray]) -> Tensor:
    """(B, longest) int64: 1 at the entries of B arrays and 0 at their padding."""
    lengths = np.array([len(row) for row in rows])
    return torch.from_numpy((np.arange(lengths.max()) < lengths[:, None]).astype(np.int64))
