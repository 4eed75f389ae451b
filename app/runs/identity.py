"""RunIdentity: what a run is called, composed here and nowhere else, and never parsed back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from app.backbones.placement import PlacementSpec
from app.norms import NormSpec


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
    """

    task: str
    dataset: str
    model: str
    norm: NormSpec
    seed: int
    placement: PlacementSpec = PlacementSpec()

    @property
    def variant(self) -> str:
        """Norm and placement in a path: that of the norm alone where the placement is native."""
        return f"{self.norm.label}{self.placement.suffix}"

    def folder(self, root: Path) -> Path:
        """The run folder: ROOT/<task>/<dataset>/<model>/<norm>[~<placement>]/seed<seed>."""
        return root / self.task / self.dataset / self.model / self.variant / f"seed{self.seed}"

    def earlier_folder(self, root: Path) -> Path:
        """Where earlier versions put the run: their folders do not name the model."""
        return root / self.task / self.dataset / self.variant / f"seed{self.seed}"

    @staticmethod
    def folders_in(root: Path, seed: int) -> Iterator[Path]:
        """The run folders of a seed under a root, for who does not know task, dataset, model and norm.

        Those of earlier versions, whose path has no model, come last.
        """
        return chain(root.glob(f"*/*/*/*/seed{seed}"), root.glob(f"*/*/*/seed{seed}"))

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
        return f"{self.task}|{self.dataset}|{self.model}|{norm}|seed:{self.seed}|{made_by}"
