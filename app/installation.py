"""Where the project's own files are: at the root of a checkout, or inside the installed package.

A wheel has no train.py, and its configs are in app/configs; a checkout and an editable install have both at the root.
"""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[1]  # of a checkout; site-packages for a wheel
_INSTALLED = Path(__file__).parent / "configs"
CONFIGS = _INSTALLED if _INSTALLED.is_dir() else ROOT / "configs"
BASE_CONFIG = CONFIGS / "base.yaml"

_TRAIN = ROOT / "train.py"
_IS_CHECKOUT = CONFIGS != _INSTALLED and _TRAIN.is_file()
TRAIN = [sys.executable, *([str(_TRAIN)] if _IS_CHECKOUT else ["-m", "app.cli"])]  # starts the command line
TYPED = ["python", "train.py"] if _IS_CHECKOUT else ["norm-workbench"]  # how the user starts it


def app_version() -> str:
    """The version of this project: that of pyproject.toml in a checkout, else of the installed package, or unknown."""
    project = ROOT / "pyproject.toml"
    if _IS_CHECKOUT and project.is_file():  # it need not be installed, or may have been installed before it changed
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])
    try:
        return version("norm-workbench")
    except PackageNotFoundError:  # a copy of the code alone
        return "unknown"


def config_path(name: str) -> Path:
    """The path of a config: as given, or, where there is no such file, the project's own configs/NAME."""
    given = Path(name)
    shipped = CONFIGS.parent / given
    is_ours = given.parts[:1] == ("configs",) and ".." not in given.parts
    return shipped if is_ours and not given.exists() and shipped.is_file() else given
