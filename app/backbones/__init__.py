"""Hugging Face models with other norms: build, inject, save, load.

app/norms/__init__.py tells the way of a norm. transformers is imported when it is first needed.
"""

from app.backbones.build import BackboneConfig, BuiltModel, build_model
from app.backbones.context import norm_contexts
from app.backbones.embedding_scale import EmbeddingScale, embedding_scales
from app.backbones.inject import SiteRecord, apply_norms, inject_norms
from app.backbones.one_pass import eval_mode, tensors_in
from app.backbones.placement import (
    PlacementSpec,
    branch_scales,
    drawn_blocks,
    place_norms,
    placement_names,
    placement_of,
)
from app.backbones.sites import LeftNorm, NormSite, is_norm, left_norms, name_paths, norm_sites
from app.backbones.stock_model import to_stock_model
from app.backbones.storage import check_is_new, load_model, new_folder, save_model

__all__ = [
    "BackboneConfig",
    "BuiltModel",
    "EmbeddingScale",
    "LeftNorm",
    "NormSite",
    "PlacementSpec",
    "SiteRecord",
    "apply_norms",
    "branch_scales",
    "drawn_blocks",
    "build_model",
    "check_is_new",
    "embedding_scales",
    "eval_mode",
    "inject_norms",
    "is_norm",
    "left_norms",
    "load_model",
    "name_paths",
    "new_folder",
    "norm_contexts",
    "norm_sites",
    "place_norms",
    "placement_names",
    "placement_of",
    "save_model",
    "tensors_in",
    "to_stock_model",
]
