"""Normalizations: tensor in, tensor out; nothing here knows of models, data or training.

One file a norm. Every module of this folder is imported here, so that a new file is registered by being there.
"""

import importlib
import pkgutil

from app.norms.base import Norm
from app.norms.registry import NormError, bind_options, build_norm, norm_class, norm_names, register_norm
from app.norms.spec import NormSpec

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = [
    "Norm",
    "NormError",
    "NormSpec",
    "bind_options",
    "build_norm",
    "norm_class",
    "norm_names",
    "register_norm",
]
