"""GatedNorm: RMSNorm whose output is multiplied by a gate computed from it."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from app.norms.base import Norm, Shape
from app.norms.functional import gated_norm
from app.norms.registry import register_norm

_INIT_STD = 0.02  # that of the linear layers of bert and gpt2


@register_norm("gatednorm")
class GatedNorm(Norm):
    """RMSNorm times a gate of low rank.

    y * sigmoid(up silu(down y)),  y = weight * x / sqrt(mean(x^2) + eps)

    mean over `normalized_shape`, of product H; weight, of `normalized_shape`, is learned from 1; down, of shape
    (`rank`, H), and up, of shape (H, rank), from normal numbers of deviation 0.02 that are the same for every norm of
    this shape and every seed, so that a run draws the numbers that it draws with any other norm. arXiv 2601.22966,
    rank 16, claims 2 points on average, and a loss of 1.2 under quantization to four bits. Its start halves the output.

    Raises:
        ValueError: if rank is below 1.
    """

    def __init__(self, normalized_shape: Shape, eps: float = 1e-5, *, rank: int = 16) -> None:
        super().__init__(normalized_shape, eps)
        self.check_options(rank=rank)
        self.rank = rank
        size = math.prod(self.normalized_shape)
        generator = torch.Generator().manual_seed(0)
        down, up = (torch.randn(*shape, generator=generator, device="cpu") for shape in ((rank, size), (size, rank)))
        self.weight = nn.Parameter(torch.ones(self.normalized_shape))
        self.down = nn.Parameter(down * _INIT_STD)
        self.up = nn.Parameter(up * _INIT_STD)

    @classmethod
    def check_options(cls, **options: Any) -> None:
        """Refuse a rank below 1 too."""
        super().check_options(**options)
        if options["rank"] < 1:
            raise ValueError(f"rank must be >= 1, got {options['rank']}")

    def normalize(self, x: Tensor) -> Tensor:
        """Compute the formula; x and a number per row are saved for backward."""
        return gated_norm(x, self.normalized_shape, self.weight, self.down, self.up, self.eps)
