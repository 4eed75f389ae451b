"""DetachNorm: LayerNorm-simple whose statistics are constants in backward."""

from torch import Tensor

from app.norms.base import Norm
from app.norms.functional import detach_norm
from app.norms.registry import register_norm


@register_norm("detachnorm")
class DetachNorm(Norm):
    """The forward of LayerNorm-simple, without the derivatives of mu and sigma.

    y = (x - mu) / sigma,  sigma = sqrt(var + eps);  g / sigma reaches x

    mu, var = mean and population variance of x over `normalized_shape`, constant in backward; g = the gradient at y.
    Xu et al. 2019, section 3: its difference from LayerNorm-simple shows what the two derivatives contribute. The
    authors' code divides by the sample deviation (H - 1) plus eps, outside the root.
    """

    true_gradient = False
    detaches_mean = True
    detaches_sigma = True

    def normalize(self, x: Tensor) -> Tensor:
        """Compute y; only 1 / sigma is saved for backward."""
        return detach_norm(x, self.normalized_shape, self.eps)
