"""The norm and the placement of a command line and its YAML files, each merged into one flag.

The norm takes `--norm NAME`, `--norm.KEY VALUE` for each key of `NormRule` (`--norm.options.k 0.2`,
`--norm.by_role.ffn.alpha 0.2`, `--norm.sites WORD-OR-LIST`), and in YAML `norm: NAME`, a mapping of these keys, or a
list of such rules, which replaces everything. The placement takes `--placement NAME`, `--placement.options.KEY VALUE`,
and in YAML a name or a mapping of name and options. `fold` tells how later settings replace earlier ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from app.backbones import PlacementSpec
from app.cli.folding import FoldedSetting, fold
from app.norms import NATIVE, NormRule, NormSpec, norm_class, norm_names

DEFAULT = "layernorm"  # the norm when neither a flag nor a YAML names one


def _short_options(name: Any) -> Mapping[str, str]:
    """The short names of a norm's options; none for an unknown norm, which a later setting may replace."""
    return norm_class(name).short_options if name in norm_names() else {}


_NORM = FoldedSetting(
    key="norm",
    default=DEFAULT,
    keys=(*(field.name for field in fields(NormRule)), "embedding_scale"),
    nested={"options": "{scale: 2}", "by_role": "{ffn: {alpha: 0.2}}"},
    short_names=_short_options,
    stays=("sites", "embedding_scale"),
    beside_rules=("embedding_scale",),
    to_plain=lambda norm: NormSpec.parse(norm).to_dict(),
    when_empty="none trains without norms",
)
_PLACEMENT = FoldedSetting(
    key="placement",
    default=NATIVE,
    keys=("name", "options"),
    nested={"options": "{post_layers: 1}"},
    short_names=lambda placement: {},
    stays=(),
    beside_rules=None,
    to_plain=lambda placement: PlacementSpec.parse(placement).to_dict(),
    when_empty="native leaves norms where the model has them",
)


def fold_norm(arguments: Sequence[str], base_configs: Sequence[Path]) -> list[str]:
    """The arguments, with all that they and their YAML files set of placement and norm in two flags at the end.

    Args:
        arguments: the command line, without the program's name.
        base_configs: YAML files that are read before those of the command line.

    Raises:
        InputError: for a flag without a value, an invalid YAML file, or a value that is not a name or a mapping.
        NormError: for an unknown norm, placement, option or value.
    """
    rest, placement = fold(_PLACEMENT, arguments, base_configs)
    rest, norm = fold(_NORM, rest, base_configs)
    return [*rest, *placement, *norm]
