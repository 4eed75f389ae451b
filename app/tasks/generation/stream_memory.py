"""The memory of a model that reads streams in segments: each process keeps that of its streams, checkpoints all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class StreamMemory:
    """The hidden states of each layer, (M, B, H): M positions of the B streams of this process.

    Process r of n has the streams r, r + n, r + 2n, ... of every batch, as the batch plan cuts them.
    """

    def __init__(self) -> None:
        self.states: list[Tensor] | None = None  # one per layer; None before the first segment
        self._is_dummy = False  # states of a copied stream, whose own states another process has

    def at(self, device: torch.device) -> list[Tensor] | None:
        """Return the states on the device of the next segment; loaded ones are still on the CPU."""
        if self.states is not None:
            self.states = [state.to(device) for state in self.states]
        return self.states

    def forget(self) -> None:
        """Forget the states: the next segment is the first of its streams."""
        self.states = None

    def keep(self, states: Sequence[Tensor], is_dummy: bool) -> None:
        """Keep the states that a model returned, without their gradients."""
        self.states = [state.detach() for state in states]
        self._is_dummy = is_dummy

    def gather(self) -> list[Tensor] | None:
        """Return the states of all streams in order, on the CPU; to be called on all processes.

        They do not depend on the number of processes, so another number of them can resume.
        """
        own = None if self.states is None or self._is_dummy else [state.cpu() for state in self.states]
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return own
        shares: list[list[Tensor] | None] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(shares, own)
        present = [share for share in shares if share is not None]
        if not present:
            return None
        streams = sum(share[0].shape[1] for share in present)
        # at the end of a pass some may have one position more, but no one resumes there
        positions = min(share[0].shape[0] for share in present)
        gathered = []
        for layer in range(len(present[0])):
            first = present[0][layer]
            whole = first.new_empty(positions, streams, first.shape[2])
            for rank, share in enumerate(shares):
                if share is not None:
                    whole[:, rank :: len(shares)] = share[layer][-positions:]
            gathered.append(whole)
        return gathered

    def take(self, states: Sequence[Tensor] | None, rank: int, world_size: int) -> None:
        """Resume with gathered states: those of this process's streams, or a copy if it has none."""
        if states is None:
            self.forget()
            return
        own = slice(rank, None, world_size) if rank < states[0].shape[1] else slice(0, 1)
        self.states = [state[:, own].contiguous() for state in states]
        self._is_dummy = rank >= states[0].shape[1]
