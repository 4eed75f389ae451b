"""RunIdentity: what a run is called, composed here and nowhere else, and never parsed back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from app.backbones.placement import PlacementSpec
from app.norms import NormSpec

_ARCHIVED = re.compile(r"\.\d{8}-\d{6}(-\d+)?$")  # how `archive_previous_run` ends a name


@dataclass(frozen=True)
class RunIdentity:
    """What tells a run from all others of its kind.

    Args:
        task: name of the task, such as classification.
        dataset: short name of the dataset.
        model: short name of the model, such as bert-4x128.
        norm: the norm, its options and its sites.
        seed: of --seed_everything.
        placement: where the norms stand.
        departures: what else tells it from runs with the same seed, and is not the default: `init`, `order` and
            `dropout`, seeds of their own; `split`, the seed of the splits; `fold`, as in 2of10; `train`, the fraction
            of the training split.
    """

    task: str
    dataset: str
    model: str
    norm: NormSpec
    seed: int
    placement: PlacementSpec = PlacementSpec()
    departures: Mapping[str, str] = field(default_factory=dict)

    @property
    def variant(self) -> str:
        """Norm and placement in a path: that of the norm alone where the placement is native."""
        return f"{self.norm.label}{self.placement.suffix}"

    def folder(self, root: Path) -> Path:
        """The run folder: ROOT/<task>/<dataset>/<model>/<norm>[~<placement>]/seed<seed>[-<departure>]..."""
        name = "-".join([f"seed{self.seed}", *(what + value for what, value in self.departures.items())])
        return root / self.task / self.dataset / self.model / self.variant / name

    def earlier_folder(self, root: Path) -> Path:
        """Where earlier versions put the run: their folders do not name the model."""
        return root / self.task / self.dataset / self.variant / f"seed{self.seed}"

    @staticmethod
    def folders_in(root: Path, seed: int) -> Iterator[Path]:
        """The run folders of a seed under a root, for who does not know task, dataset, model, norm and departures.

        Those of earlier versions, whose path has no model, come last; runs that later ones replaced are not among them.
        """
        depart = (path for path in root.glob(f"*/*/*/*/seed{seed}-*") if not _ARCHIVED.search(path.name))
        return chain(root.glob(f"*/*/*/*/seed{seed}"), depart, root.glob(f"*/*/*/seed{seed}"))

    def signature(self, replaced: int, total: int, made_by: str) -> str:
        """The line that is printed with every score.

        Args:
            replaced: norms of the model that were replaced.
            total: norms of the model.
            made_by: what the score is of, such as `steps:805` or a checkpoint.
        """
        norm = f"{self.norm.signature}|sites:{self.norm.sites_label} {replaced}/{total}"
        if not self.placement.is_native:
            norm += f"|placement:{self.placement}"
        seeds = "|".join([f"seed:{self.seed}", *(f"{what}:{value}" for what, value in self.departures.items())])
        return f"{self.task}|{self.dataset}|{self.model}|{norm}|{seeds}|{made_by}"
