"""Layout: where the norms of a branch stand, and the registry from the names of placements to layouts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from app.norms import AUTO, Auto

NATIVE = "native"
QK = ("none", "head", "width")


@dataclass(frozen=True)
class Layout:
    """What a branch F of a block computes from the stream x, N being a norm of its own each time.

    y = post(residual_factor x + scale out(F(norm_factor pre(x))) + b),  pre, out, post = N or the identity

    Attributes:
        pre: norm before the branch.
        out: norm on its output.
        post: norm on the sum.
        queries_and_keys: norms of both, in attention: none, over each head, or over the whole width.
        values: also one of the values.
        residual_factor: of x in the sum that a post norm gets.
        norm_factor: of what the norm before the branch gives.
        branch_scale: start value of a learned factor of the branch; None for none.
        scale_is_vector: one factor for each feature.
        from_block_input: b is the input of the block; else 0.
        init_factor: of the initial weights of the values, the output and the feed-forward network.
        end: whether a norm follows the last block of the stack.
    """

    pre: bool = False
    out: bool = False
    post: bool = False
    queries_and_keys: Literal["none", "head", "width"] = "none"
    values: bool = False
    residual_factor: float = 1.0
    norm_factor: float = 1.0
    branch_scale: float | None = None
    scale_is_vector: bool = False
    from_block_input: bool = False
    init_factor: float = 1.0
    end: bool = True


@dataclass(frozen=True)
class BranchInfo:
    """What a placement may ask about a branch.

    Attributes:
        kind: attention, cross_attention or ffn.
        layer: number of the block from 1.
        layers: blocks in the stack.
        stack: encoder, decoder, or None where it is unknown.
        is_last: whether it is the last branch of its block.
        native: where the model's own norms stand.
        other_layers: blocks in the other stack of an encoder-decoder model; None in any other.
    """

    kind: str
    layer: int
    layers: int
    stack: str | None
    is_last: bool
    native: Layout
    other_layers: int | None


_PLACEMENTS: dict[str, Callable[..., Layout]] = {}
_CHECKS: dict[str, Callable[..., object]] = {}


def checked_qk(queries_and_keys: str) -> Literal["none", "head", "width"]:
    """Return the value of an option about norms of queries and keys.

    Raises:
        ValueError: for anything else than none, head or width.
    """
    if queries_and_keys not in QK:
        raise ValueError(f"queries_and_keys is {queries_and_keys!r}; allowed: {', '.join(QK)}")
    return queries_and_keys  # type: ignore[return-value]


def check_positive(**factors: float | Auto) -> None:
    """Refuse factors that are not positive numbers or auto.

    Raises:
        ValueError: for the first of them.
    """
    for option, value in factors.items():
        if value != AUTO and value <= 0:
            raise ValueError(f"{option} is {value:g}; must be > 0 or auto")


def register_placement(
    name: str, check: Callable[..., object] | None = None
) -> Callable[[Callable[..., Layout]], Callable[..., Layout]]:
    """Register a placement under a name; a decorator of a function from a branch to a `Layout`.

    Args:
        name: of the placement.
        check: takes its options and raises a ValueError for a value that suits no model, before a model is built.
    """

    def register(rule: Callable[..., Layout]) -> Callable[..., Layout]:
        if name in _PLACEMENTS or name == NATIVE:
            raise ValueError(f"placement {name!r} is taken; choose another name")
        _PLACEMENTS[name] = rule
        if check is not None:
            _CHECKS[name] = check
        return rule

    return register


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse values of the right type that a placement cannot take in any model.

    Raises:
        ValueError: for a float that is not finite, and what the placement's own check refuses.
    """
    for option, value in options.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{option} is {value}; must be finite")
    if name in _CHECKS:
        _CHECKS[name](**options)


def placement_names() -> list[str]:
    """Return all names, `native` first."""
    return [NATIVE, *sorted(_PLACEMENTS)]


def layout_rule(name: str) -> Callable[..., Layout]:
    """Return the placement registered under a name."""
    return _PLACEMENTS[name]
