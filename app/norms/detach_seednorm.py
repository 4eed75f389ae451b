"""Detach SeeDNorm: SeeDNorm whose tanh is a constant of the input in backward."""

from app.norms.registry import register_norm
from app.norms.seednorm import SeeDNorm


@register_norm("detach_seednorm")
class DetachSeeDNorm(SeeDNorm):
    """The forward of SeeDNorm, without the derivative of its tanh in x: DetachNorm's question put to SeeDNorm.

    (weight + alpha * t) * x / sqrt(mean(x^2) + eps),  t = tanh(x . beta);  RMSNorm's gradient with
    g := (weight + alpha * t) g reaches x

    t is constant in x in backward, and beta learns as in `seednorm`, whose `heads` and start values it has; g = the
    gradient at the output. As Xu et al. 2019, section 4, do it with AdaNorm's factor.
    """

    true_gradient = False
    detaches_factor = True
