"""How fast each norm is, forward and backward, relative to torch's layer norm in the same round.

Every module has a turn in each round, in an order that rotates, and each turn is divided by the reference's turn of the
same round: a machine that slows down slows both. The result is the median of the rounds' ratios.
"""

from __future__ import annotations

import ctypes
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from app.benchmark.baselines import REFERENCE, baselines
from app.benchmark.tables import Row, Spread, spread

SHAPES = ((32, 64, 128), (32, 128, 512), (16, 256, 768), (8, 512, 1024))
_TURN_S = 2e-3  # with shorter turns, the clock itself would be measured
_COMPILED = " (compiled)"
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of malloc.h


def compare(turns: Mapping[str, Callable[[], object]], reference: str, rounds: int) -> dict[str, Spread]:
    """Time callables in turns, and return each one's ratio to the reference.

    Args:
        turns: callables by name.
        reference: one of the names.
        rounds: timed rounds, after one that is not timed.
    """
    names = list(turns)
    repeats = _repeats(turns[reference])
    ratios: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        seconds = {}
        for name in names[number % len(names) :] + names[: number % len(names)]:
            began = time.perf_counter()
            for _ in range(repeats):
                turns[name]()
            seconds[name] = time.perf_counter() - began
        if number:
            for name in names:
                ratios[name].append(seconds[name] / seconds[reference])
    return {name: spread(found) for name, found in ratios.items()}


def _repeats(turn: Callable[[], object]) -> int:
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        turn()
        seconds.append(time.perf_counter() - began)
    return max(1, round(_TURN_S / max(statistics.median(seconds), 1e-9)))


def keep_freed_memory() -> None:
    """Make glibc keep freed memory, because whether it returns pages and fetches them again is up to chance.

    By that chance the same module takes up to three times as long. With another libc this does nothing.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_MMAP_MAX, 0)


def forward_backward(module: nn.Module, call: Callable[[Tensor], Tensor], x: Tensor, g: Tensor) -> Callable[[], object]:
    """Return a callable that runs forward and backward, with gradients of x and the parameters.

    Args:
        module: the module with the parameters.
        call: the module itself, or compiled.
        x: the input, a leaf with a gradient.
        g: the gradient at the output.
    """
    leaves = [x, *module.parameters()]

    def turn() -> object:
        gradients = torch.autograd.grad(call(x), leaves, g)
        if x.is_cuda:
            torch.cuda.synchronize()
        return gradients

    return turn


def saved_bytes(module: nn.Module, x: Tensor) -> int:
    """Count the bytes that forward keeps for backward: each storage once, without parameters."""
    own = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    kept = []  # or a storage could be freed and its address reused
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or note(tensor), lambda t: t):
        output = module(x)
    assert output.shape == x.shape
    return sum(sizes.values())


def time_norms(
    shape: tuple[int, ...], threads: int, device: str, rounds: int, only: Sequence[str], compiled: bool
) -> Iterator[Row]:
    """Time every baseline at a shape, and give a row for each.

    Args:
        shape: of the input; its last dimension is normalized.
        threads: the number of threads that torch computes with.
        device: cpu or cuda.
        rounds: the number of timed rounds.
        only: names of norms, each of which includes its plain formulas; empty for all.
        compiled: also time what torch.compile makes of each.
    """
    keep_freed_memory()
    torch.set_num_threads(threads)
    torch._dynamo.reset()
    torch._dynamo.config.recompile_limit = 100  # all norms share the code of Norm.forward
    x = torch.randn(shape, device=device, requires_grad=True)
    g = torch.randn(shape, device=device)
    modules = {
        name: module
        for name, module in baselines(shape[-1], device).items()
        if not only or name == REFERENCE or name.partition(",")[0] in only
    }
    turns = {name: forward_backward(module, module, x, g) for name, module in modules.items()}
    for name, module in modules.items() if compiled else ():
        print(f"compiling {name} for {shape}", file=sys.stderr, flush=True)
        call = torch.compile(module, fullgraph=True, dynamic=False)
        turns[name + _COMPILED] = forward_backward(module, call, x, g)
        turns[name + _COMPILED]()
    found = compare(turns, REFERENCE, rounds)
    reference = saved_bytes(modules[REFERENCE], x)
    for name, module in modules.items():
        times = {"eager": found[name]} | ({"compiled": found[name + _COMPILED]} if compiled else {})
        cells = {"shape": "x".join(map(str, shape)), "threads": threads, "norm": name, **times}
        yield Row("norms" if compiled else "norms_eager", cells | {"bytes saved": saved_bytes(module, x) / reference})
