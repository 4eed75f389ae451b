"""LayerNorm-simple: LayerNorm without gain and bias."""

from torch import Tensor

from app.norms.base import Norm
from app.norms.functional import layer_norm
from app.norms.registry import register_norm


@register_norm("layernorm_simple")
class LayerNormSimple(Norm):
    """LayerNorm without gain and bias.

    y = (x - mu) / sqrt(var + eps);  (g - mean(g) - y mean(g y)) / sqrt(var + eps) reaches x

    mu, var = mean and population variance of x over `normalized_shape`; g = the gradient at y. Xu et al. 2019,
    section 3. The authors' code divides by the sample deviation (H - 1) plus eps, outside the root.
    """

    detaches_mean = False
    detaches_sigma = False

    def normalize(self, x: Tensor) -> Tensor:
        """Compute y by torch's kernel."""
        return layer_norm(x, self.normalized_shape, self.eps)
