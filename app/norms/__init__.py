"""Normalizations, from tensor to tensor; nothing here knows of models, data or training.

One file per norm. Every module of this folder is imported here, so a new file needs no other edit. The way of a norm:

1. `adanorm.py` registers a class under its name by `register_norm` (registry.py), which checks it.
2. app/cli/norm.py folds `--norm`, `--norm.options.KEY`, `--norm.sites` and the YAMLs' `norm` into one mapping.
3. The mapping becomes a `NormSpec` (spec.py): rules with name, options and sites; all checked before any work.
4. LightningCLI links the spec to the task, which calls app.backbones.build_model: weights are drawn first.
5. app.backbones.norm_sites finds the model's norms by what they compute, and norm_contexts where each stands; the
   first rule whose `sites` match takes a norm.
6. app.backbones.inject_norms builds a norm for each site by `build_norm`, copies gain and bias, and swaps it in.
7. A `SiteRecord` for each is the evidence: the first lines of a run, and norm_sites.csv.
8. app.backbones.save_model keeps the norms with the model, so that nothing reads it back as another.
"""

import importlib
import pkgutil

from app.norms.base import Norm
from app.norms.context import ROLES, NormContext
from app.norms.options import AUTO, Auto, NormError
from app.norms.registry import bind_options, build_norm, norm_class, norm_names, register_norm
from app.norms.spec import FROZEN_WORDS, NATIVE, NormRule, NormSpec, norm_signature

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = [
    "AUTO",
    "FROZEN_WORDS",
    "NATIVE",
    "ROLES",
    "Auto",
    "Norm",
    "NormContext",
    "NormError",
    "NormRule",
    "NormSpec",
    "bind_options",
    "build_norm",
    "norm_class",
    "norm_names",
    "norm_signature",
    "register_norm",
]
