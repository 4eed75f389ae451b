"""Placements, a file each; every module of this folder is imported here, so a new one needs no other edit."""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
