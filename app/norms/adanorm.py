"""AdaNorm: instead of gain and bias, a factor that depends on y and is constant in backward."""

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from app.norms.base import Norm, Shape
from app.norms.functional import ada_norm
from app.norms.registry import register_norm


@register_norm("adanorm")
class AdaNorm(Norm):
    """Adaptive normalization: LayerNorm-simple times a factor that falls as y rises, constant in backward.

    z = C (1 - k y) * y,  y = (x - mu) / sqrt(var + eps);  LayerNorm-simple's gradient with g := C (1 - k y) g reaches x

    k = `k`, the paper's 1/10; C = `scale`, its hyper-parameter (1 in the authors' De-En command, 2 in another of their
    scripts), not 0; mu, var = mean and population variance of x over `normalized_shape`; g = the gradient at z. Xu et
    al. 2019, section 4. The authors' code fixes k, divides by the sample deviation (H - 1) plus eps outside the root,
    and reaches only the norm after the last layer of each stack, for which there is `sites: final`.

    Raises:
        ValueError: if k or scale is not finite, or scale is 0.
    """

    true_gradient = False
    detaches_mean = False
    detaches_sigma = False

    def __init__(self, normalized_shape: Shape, eps: float = 1e-5, *, k: float = 0.1, scale: float = 1.0) -> None:
        super().__init__(normalized_shape, eps)
        self.check_options(k=k, scale=scale)
        self.k = k
        self.scale = scale

    @classmethod
    def check_options(cls, **options: Any) -> None:
        """Refuse a scale of 0 too, with which every output would be 0."""
        super().check_options(**options)
        if options["scale"] == 0:
            raise ValueError("scale must not be 0")

    def normalize(self, x: Tensor) -> Tensor:
        """Compute z; x, mu and 1 / sigma are saved for backward, as by LayerNorm."""
        return ada_norm(x, self.normalized_shape, self.eps, self.k, self.scale)

    def gradient_at_y(self, gradient: Tensor, x: Tensor) -> Tensor:
        """Multiply the gradient by C (1 - k y)."""
        return gradient * self.scale * (1 - self.k * F.layer_norm(x, self.normalized_shape, eps=self.eps))
