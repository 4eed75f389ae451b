"""Detach Variance: LayerNorm-simple whose variance is a constant in backward."""

from torch import Tensor

from app.norms.base import Norm
from app.norms.functional import detach_variance
from app.norms.registry import register_norm


@register_norm("detach_variance")
class DetachVariance(Norm):
    """The forward of LayerNorm-simple, without the derivative of sigma, which re-scales the gradient.

    y = (x - mu) / sigma,  sigma = sqrt(var + eps);  (g - mean(g)) / sigma reaches x

    mu, var = mean and population variance of x over `normalized_shape`, var constant in backward; g = the gradient
    at y. Xu et al. 2019, section 3. The authors' code divides by the sample deviation (H - 1) plus eps, outside
    the root.
    """

    true_gradient = False
    detaches_mean = False
    detaches_sigma = True

    def normalize(self, x: Tensor) -> Tensor:
        """Compute y; only 1 / sigma is saved for backward."""
        return detach_variance(x, self.normalized_shape, self.eps)
