"""The arithmetic of the norms, as torch.autograd.Functions.

Decisions:
- x and two numbers per row are saved for backward, as by F.layer_norm, or less. The output is never saved, so the next
  module may overwrite it in place, as a ReLU does after F.layer_norm. Steps write over their own memory where they can:
  on CPU a new tensor costs more than the arithmetic on it.
- What no kernel of aten computes is computed in blocks of rows (by_rows.py).
- On CPU the forward kernel of layer norm is vectorised only with both gain and bias, and stores its statistics in half
  precision unless these are float32. So `affine` passes both, as ones and zeros where a norm has none: without them
  layernorm_simple takes a fifth longer, and gradients in bfloat16 are wrong in the second digit. GPUs need neither.
- Backward uses differentiable operations when autograd records it, so double backward is the derivative of the plain
  formula with its detached parts.
- The normalized dimensions are the last `len(shape)`; per-row statistics keep them with size 1 and so broadcast.
"""

from app.norms.functional.kernels import statistics_dtype
from app.norms.functional.layer_norms import ada_norm, detach_mean, detach_norm, detach_variance, layer_norm
from app.norms.functional.pointwise import FUNCTIONS, pointwise
from app.norms.functional.rms_norms import (
    bounded_tanh,
    detach_rms,
    gated_norm,
    partial_rms_norm,
    pre_affine_rms_norm,
    rms_norm,
    self_rescaled_norm,
)

__all__ = [
    "FUNCTIONS",
    "ada_norm",
    "bounded_tanh",
    "detach_mean",
    "detach_norm",
    "detach_rms",
    "detach_variance",
    "gated_norm",
    "layer_norm",
    "partial_rms_norm",
    "pointwise",
    "pre_affine_rms_norm",
    "rms_norm",
    "self_rescaled_norm",
    "statistics_dtype",
]
