"""What is counted of each example of a split, by which examples are resampled and compared between runs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

ExampleCounts = dict[str, np.ndarray]  # `index`, ascending, and one column each of what was counted; all (N,)


class ExampleCollector:
    """Collects the counts of examples over the batches and processes of an evaluation."""

    def __init__(self) -> None:
        self._own: list[dict[str, Tensor]] = []

    def update(self, index: Tensor, columns: Mapping[str, Tensor | int]) -> None:
        """Add the examples of a batch; no copy to the CPU is made before they are collected.

        Args:
            index: (B,) int64, their positions in the split; negative for a row that is not an example.
            columns: (B, ...) each, which are summed to (B,); if one of them does not have the examples in its first
                dimension, nothing is kept.
        """
        by_example = {name: column for name, column in columns.items() if isinstance(column, Tensor) and column.dim()}
        if len(by_example) == len(columns):
            summed = {name: column.detach().reshape(len(index), -1).sum(1) for name, column in by_example.items()}
            self._own.append({"index": index, **summed})

    def collect(self) -> ExampleCounts:
        """Return the counts of all processes by index, and forget them; call it on all processes.

        Returns:
            float64 of floating counts and int64 of others; empty if none was kept.
        """
        own, self._own = self._own, []
        tables = [{name: torch.cat([batch[name] for batch in own]).cpu().numpy() for name in own[0]}] if own else []
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            shares: list[list[ExampleCounts]] = [[] for _ in range(torch.distributed.get_world_size())]
            torch.distributed.all_gather_object(shares, tables)
            tables = [table for share in shares for table in share]
        if not tables:
            return {}
        whole = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
        order = np.argsort(whole["index"], kind="stable")
        order = order[whole["index"][order] >= 0]
        return {name: column[order] for name, column in whole.items()}
