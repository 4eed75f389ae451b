"""What a model remembers of the segments before: kept on each process for its streams, saved for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class StreamMemory:
    """Hidden states of each layer, (M, B, H), M positions of the B streams that this process has.

    Process r of n has the streams r, r + n, r + 2n, ... of every batch, as the batch plan cuts them.
    """

    def __init__(self) -> None:
        self.states: list[Tensor] | None = None  # one a layer; None before the first segment
        self._is_filler = False  # of a stream that another process has: of no use to anybody else

    def at(self, device: torch.device) -> list[Tensor] | None:
        """The states, on the device of the segment that comes; what was loaded is on the CPU still."""
        if self.states is not None:
            self.states = [state.to(device) for state in self.states]
        return self.states

    def forget(self) -> None:
        """Begin anew: the next segment is the first of its streams."""
        self.states = None

    def keep(self, states: Sequence[Tensor], is_dummy: bool) -> None:
        """Remember what a model gave back; gradients end here."""
        self.states = [state.detach() for state in states]
        self._is_filler = is_dummy

    def gather(self) -> list[Tensor] | None:
        """The states of all streams in their order, on the CPU; to be called on all processes.

        They do not depend on how many processes there are, so another number of them can go on.
        """
        own = None if self.states is None or self._is_filler else [state.cpu() for state in self.states]
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return own
        shares: list[list[Tensor] | None] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(shares, own)
        present = [share for share in shares if share is not None]
        if not present:
            return None
        streams = sum(share[0].shape[1] for share in present)
        # At the end of a pass some may have a position more; nobody goes on from there.
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
        """Go on from gathered states: those of this process's streams, or a copy where it has none."""
        if states is None:
            self.forget()
            return
        own = slice(rank, None, world_size) if rank < states[0].shape[1] else slice(0, 1)
        self.states = [state[:, own].contiguous() for state in states]
        self._is_filler = rank >= states[0].shape[1]
