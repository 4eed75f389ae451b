"""Detach Mean: LayerNorm-simple whose mean is a constant in backward."""

from torch import Tensor

from app.norms.base import Norm
from app.norms.functional import detach_mean
from app.norms.registry import register_norm


@register_norm("detach_mean")
class DetachMean(Norm):
    """The forward of LayerNorm-simple, without the derivative of mu, which re-centres the gradient.

    y = (x - mu) / sigma,  sigma = sqrt(var + eps);  (g - y mean(g y)) / sigma reaches x

    mu, var = mean and population variance of x over `normalized_shape`, mu constant in backward (also inside var);
    g = the gradient at y. Xu et al. 2019, section 3. The authors' code divides by the sample deviation (H - 1)
    plus eps, outside the root.
    """

    true_gradient = False
    detaches_mean = True
    detaches_sigma = False

    def normalize(self, x: Tensor) -> Tensor:
        """Compute y; x, mu and 1 / sigma are saved for backward, as by LayerNorm."""
        return detach_mean(x, self.normalized_shape, self.eps)
