"""Norms that compute each row from itself: forward, backward and double backward around their arithmetic on rows.

On CPU, a step over a large tensor waits for memory more than it computes. So rows are computed in blocks that stay in
the cache, all steps of a block before the next block, and memory is read and written once, as by a fused kernel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from app.norms.functional.kernels import Shape, statistics_dtype

_BLOCK = 2**18  # elements: 1 MiB in float32; with fewer, the calls themselves take longer


class RowArithmetic(Protocol):
    """What a norm computes on rows x, (N, H), in the dtype of the statistics; `forward` and `backward` are optimized.

    They may write over what they make, but not over what they are given.
    """

    @staticmethod
    def formula(x: Tensor, *parameters: Any, **constants: Any) -> Tensor:
        """Compute the plain formula, whose derivative `backward` is: for compilers and for double backward."""

    @staticmethod
    def forward(x: Tensor, *parameters: Any, **constants: Any) -> Tensor:
        """Compute the formula."""

    @staticmethod
    def backward(g: Tensor, x: Tensor, *parameters: Any, **constants: Any) -> tuple[Tensor | None, ...]:
        """Compute the gradients of x and of the parameters, these summed over rows, from the gradient at the output."""


def by_rows(
    arithmetic: type[RowArithmetic], x: Tensor, shape: Shape, *parameters: Tensor | None, **constants: Any
) -> Tensor:
    """Compute a norm of x, (..., *shape), in x's dtype whatever that of the parameters is.

    Of the activations, only x is saved for backward. A compiler gets the plain formula, which it fuses itself.

    Args:
        arithmetic: of the norm.
        x: the input.
        shape: the normalized dimensions, of product H.
        parameters: vectors of H numbers, single numbers or matrices, as the arithmetic takes them.
        constants: further arguments of the arithmetic.
    """
    if torch.compiler.is_compiling():
        return _plain(arithmetic, constants, shape, x, *parameters)
    return _ByRows.apply(x, shape, arithmetic, constants, *parameters)


def _plain(
    arithmetic: type[RowArithmetic], constants: dict[str, Any], shape: Shape, x: Tensor, *parameters: Tensor | None
) -> Tensor:
    dtype = statistics_dtype(x)
    with torch.autocast(x.device.type, enabled=False):
        rows = x.reshape(-1, math.prod(shape)).to(dtype)
        return arithmetic.formula(rows, *_cast(parameters, dtype), **constants).view(x.shape).to(x.dtype)


class _ByRows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        shape: Shape,
        arithmetic: type[RowArithmetic],
        constants: dict[str, Any],
        *parameters: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(x, *parameters)
        ctx.call = arithmetic, constants, shape
        dtype, width = statistics_dtype(x), math.prod(shape)
        out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        rows, out_rows, cast = x.reshape(-1, width), out.view(-1, width), _cast(parameters, dtype)
        with torch.autocast(x.device.type, enabled=False):
            for block in _blocks(rows):
                out_rows[block] = arithmetic.forward(rows[block].to(dtype), *cast, **constants)
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, *parameters = ctx.saved_tensors
        arithmetic, constants, shape = ctx.call
        if torch.is_grad_enabled():
            wanted = [t for t in (x, *parameters) if t is not None and t.requires_grad]
            output = _plain(arithmetic, constants, shape, x, *parameters)
            found = iter(torch.autograd.grad(output, wanted, g, create_graph=True))
            all_found = [next(found) if t is not None and t.requires_grad else None for t in (x, *parameters)]
            return all_found[0], None, None, None, *all_found[1:]
        dtype, width = statistics_dtype(x), math.prod(shape)
        dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        rows, g_rows, dx_rows = x.reshape(-1, width), g.reshape(-1, width), dx.view(-1, width)
        cast = _cast(parameters, dtype)
        sums: list[Tensor | None] = []
        with torch.autocast(x.device.type, enabled=False):
            for block in _blocks(rows):
                of_x, *of_parameters = arithmetic.backward(
                    g_rows[block].to(dtype), rows[block].to(dtype), *cast, **constants
                )
                dx_rows[block] = of_x
                sums = [_add(s, f) for s, f in zip(sums, of_parameters, strict=True)] if sums else of_parameters
        gradients = [
            None if s is None else s.reshape(p.shape).to(p.dtype) for p, s in zip(parameters, sums, strict=True)
        ]
        return dx, None, None, None, *gradients


def _add(total: Tensor | None, more: Tensor | None) -> Tensor | None:
    return total if total is None or more is None else total.add_(more)


def _cast(parameters: Sequence[Tensor | None], dtype: torch.dtype) -> list[Tensor | None]:
    return [None if parameter is None else parameter.to(dtype) for parameter in parameters]


def _blocks(rows: Tensor) -> Iterator[slice]:
    """Yield the slices of rows that are computed together: one on a GPU, and at least one."""
    count, width = rows.shape
    size = max(1, _BLOCK // width) if rows.is_cpu else max(1, count)
    for begin in range(0, max(1, count), size):
        yield slice(begin, begin + size)
