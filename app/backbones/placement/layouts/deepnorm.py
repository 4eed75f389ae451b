"""DeepNorm: post-norm with a larger residual and smaller initial weights."""

from app.backbones.placement.layout import BranchInfo, Layout, check_positive, register_placement
from app.norms import AUTO, Auto


@register_placement("deepnorm", check_positive)
def deepnorm(branch: BranchInfo, *, alpha: float | Auto = AUTO, beta: float | Auto = AUTO) -> Layout:
    """Return y = N(alpha x + F(x)); initial weights of values, outputs and feed-forward layers are multiplied by beta.

    auto stands for the authors' values: with N layers in one stack, alpha = (2 N)^(1/4) and beta = (8 N)^(-1/4); with N
    encoder and M decoder layers 0.81 (N^4 M)^(1/16) and 0.87 (N^4 M)^(-1/16) in the encoder, (3 M)^(1/4) and
    (12 M)^(-1/4) in the decoder. Wang et al. 2022, "DeepNet" (arXiv 2203.00555), figure 2. The authors' code
    (torchscale) has 1.15 where the paper has 0.87. The model's own initial weights are scaled, not Xavier's.
    """
    own, other = branch.layers, branch.other_layers
    if other is None:
        authors = (2 * own) ** 0.25, (8 * own) ** -0.25
    elif branch.stack == "encoder":
        authors = 0.81 * (own**4 * other) ** (1 / 16), 0.87 * (own**4 * other) ** (-1 / 16)
    else:
        authors = (3 * own) ** 0.25, (12 * own) ** -0.25
    factor, weights = (theirs if given == AUTO else given for given, theirs in zip((alpha, beta), authors, strict=True))
    return Layout(post=True, residual_factor=factor, init_factor=weights, end=False)
