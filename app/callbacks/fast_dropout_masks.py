"""DropoutMasks: on CPU, the masks of dropout are drawn four elements at a time.

Torch's kernel makes a double of 64 random bits for each element, one after the other, which takes a sixth of an update
of a small transformer.
"""

from __future__ import annotations

import warnings

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

_STEPS = 2**16  # values of a 16-bit number
_LOWEST_INT64 = -(2**63)


def draw_bernoulli(self: Tensor, p: float = 0.5, *, generator: torch.Generator | None = None) -> Tensor:
    """Fill a tensor on the CPU with ones and zeros, as `Tensor.bernoulli_` does, by other random numbers.

    Args:
        self: of any shape and dtype.
        p: probability of a one, rounded to a multiple of 2 ** -16.
        generator: torch's own by default.

    Raises:
        RuntimeError: for a p that is not a probability, as torch raises it.
    """
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    ones = round(p * _STEPS)
    if ones in (0, _STEPS):
        return self.fill_(ones // _STEPS)
    words = torch.empty(-(-self.numel() // 4), dtype=torch.int64)
    words.random_(_LOWEST_INT64, None, generator=generator)  # all 64 bits
    numbers = words.view(torch.int16)[: self.numel()].view(self.shape)
    return torch.lt(numbers, ones - _STEPS // 2, out=self)


class DropoutMasks(Callback):
    """While a fit runs, `draw_bernoulli` is the kernel by which torch draws masks, wherever a model asks for them.

    They are drawn from torch's generator still, so what `Reseed` promises holds of them.
    """

    def __init__(self) -> None:
        self._library: torch.library.Library | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Register the kernel."""
        self._library = torch.library.Library("aten", "IMPL")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns that one kernel replaces another
            self._library.impl("bernoulli_.float", draw_bernoulli, "CPU")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give torch its own kernel back."""
        self.give_back()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give torch its own kernel back after an error, too."""
        self.give_back()

    def give_back(self) -> None:
        """Remove our kernel, so that torch draws by its own again."""
        if self._library is not None:
            self._library._destroy()
            self._library = None
