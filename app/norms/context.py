"""NormContext: where a norm stands in its model, for norms and options that depend on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["attention", "cross_attention", "ffn", "qk", "final", "embedding", "other"]
Stack = Literal["encoder", "decoder"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True)
class NormContext:
    """Where a norm stands; `app.backbones.norm_contexts` finds it by watching a forward pass.

    Attributes:
        role: attention, cross_attention or ffn for a norm before, in or after such a branch of a block (attention is
            the branch that mixes positions, whatever computes it); qk for a norm of queries, keys or values; final
            for the norm after the last block; embedding for one before the first block; other for all the rest, and
            where nothing is known.
        layer: number of the block, from 1; None outside the blocks.
        layers: number of blocks in its stack; None outside the stacks.
        width: size of the residual stream; None where it is unknown.
        stack: decoder for a stack in which no position sees a later one, encoder for any other; None where it is
            unknown.
    """

    role: Role = "other"
    layer: int | None = None
    layers: int | None = None
    width: int | None = None
    stack: Stack | None = None
