"""BHyT: a learned tanh of each element of x / rms(x)."""

from typing import Any

import torch
from torch import Tensor, nn

from app.norms.base import Norm, Shape
from app.norms.functional import bounded_tanh
from app.norms.registry import register_norm


@register_norm("bhyt")
class BHyT(Norm):
    """Bounded hyperbolic tangent: DyT whose slope is a learned multiple of 1 / rms(x).

    weight * tanh(lambda x / (kappa rms(x))),  rms(x) = sqrt(mean(x^2) + eps)

    mean over `normalized_shape`; kappa = `kappa`, not 0; lambda, of shape (1,), is learned from `lambda_init`; weight,
    of `normalized_shape`, from 1. arXiv 2601.09719 and their code (BHyT_Star), whose start of lambda, 2, is the default
    here; their full form estimates the second statistic of a block from the first, which one module cannot.

    Raises:
        ValueError: if an option is not finite or kappa is 0.
    """

    def __init__(
        self, normalized_shape: Shape, eps: float = 1e-5, *, lambda_init: float = 2.0, kappa: float = 10.0
    ) -> None:
        super().__init__(normalized_shape, eps)
        self.check_options(lambda_init=lambda_init, kappa=kappa)
        self.lambda_init = lambda_init
        self.kappa = kappa
        self.lam = nn.Parameter(torch.full((1,), float(lambda_init)))
        self.weight = nn.Parameter(torch.ones(self.normalized_shape))

    @classmethod
    def check_options(cls, **options: Any) -> None:
        """Refuse a kappa of 0 too."""
        super().check_options(**options)
        if options["kappa"] == 0:
            raise ValueError("kappa must not be 0")

    def normalize(self, x: Tensor) -> Tensor:
        """Compute the formula; x and a number per row are saved for backward."""
        return bounded_tanh(x, self.normalized_shape, self.weight, self.lam / self.kappa, self.eps)
