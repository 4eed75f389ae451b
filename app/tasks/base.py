"""The base of all tasks: how a loss is weighted, how scores are kept, how the optimizer is built.

A task defines the loss of a batch and what is counted on it. The rest follows:
- The loss of a batch is its sum of nats divided by the loss units of the whole update, over all processes and
  accumulated batches, so that an update does not depend on how its examples are cut into batches.
- Scores are sums of counts, divided once. They are kept as Python floats in `scores`, at full precision.
"""

from __future__ import annotations

import hashlib
import logging
from abc import abstractmethod
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor, nn

from app.backbones import (
    BackboneConfig,
    LeftNorm,
    PlacementSpec,
    SiteRecord,
    branch_scales,
    build_model,
    drawn_blocks,
    embedding_scales,
    name_paths,
    norm_sites,
    placement_of,
)
from app.batches import Batch, DataSpec
from app.errors import InputError
from app.metrics import ExampleCollector, ExampleCounts, MetricInfo, Ratio, baselines_not_beaten, declare_metric
from app.norms import NATIVE, NormSpec, norm_signature
from app.tasks.forward_pass import ForwardPass, loading_lines
from app.tasks.optimization import OptimizerConfig, build_optimizer
from app.tasks.prediction import Prediction

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# metric name -> (numerator, denominator) of one batch, each a tensor with examples in its first dimension, or a sum
Counts = dict[str, tuple[Tensor, Tensor | int]]
SPLITS = ("val", "train_probe", "test")
HEAD_FILE = "head.safetensors"  # of an exported folder
TRAIN_METRICS = ("loss", "smoothed_loss")
_TRAIN_TOTALS = "train_totals"  # key of a checkpoint
_UNREAD = ("pooler", "mask_emb", "seg_embed", "r_s_bias")  # no task reads a pooler, or XLNet's permutations and pairs


class TrainLoss(NamedTuple):
    """The loss of a training batch, summed over its loss units.

    Attributes:
        objective: scalar that is minimised, with label smoothing if there is any.
        nats: scalar without label smoothing, from which train/loss is computed and runs are compared. Needs no
            gradient.
        units: number of loss units in both sums.
    """

    objective: Tensor
    nats: Tensor
    units: int


class Task(LightningModule):
    """Base of all tasks.

    A task's own `__init__` has its own arguments alone and passes the others, which are these, on as `**kwargs`.

    Args:
        backbone: the Hugging Face model, or one of this project's own.
        optimizer: optimizer and schedule.
        norm: the norms of the run, or what `NormSpec.parse` reads; train.py sets it to --norm.
        data_spec: what the data dictates; train.py takes it from the datamodule.
        seed: seed of the initial weights; train.py sets it to --seed_everything.
        placement: where the norms stand, or what `PlacementSpec.parse` reads; train.py sets it to --placement.
    """

    name: ClassVar[str]  # first part of the run folder
    auto_class: ClassVar[str] = "AutoModel"  # which of transformers' Auto classes builds the backbone
    batch_types: ClassVar[tuple[type[Batch], ...]]  # the kinds of batches that it is trained on
    primary: ClassVar[MetricInfo]  # chooses the best checkpoint
    metrics: ClassVar[tuple[MetricInfo, ...]]  # what lines and plots show of an evaluation, the loss first
    ratio_metrics: ClassVar[tuple[str, ...]]  # what `evaluate` counts
    derived_metrics: ClassVar[tuple[str, ...]] = ()  # what `derive` computes besides `metrics`
    # what is kept of each example: column -> a metric, and 0 for its numerator or 1 for its denominator
    example_columns: dict[str, tuple[str, int]] = {"nats": ("loss", 0), "units": ("loss", 1)}
    # of a prediction's JSON line by default; where there are none, predictions are plain lines
    output_fields: ClassVar[tuple[str, ...]] = ()
    loader: ClassVar[str] = "app.backbones.load_model"  # what loads an exported folder
    label_smoothing: float = 0.0  # share of the target that is spread over all classes in training

    def __init__(
        self,
        backbone: BackboneConfig,
        optimizer: OptimizerConfig,
        norm: NormSpec | dict[str, Any],
        data_spec: DataSpec | None = None,
        seed: int = 0,
        placement: PlacementSpec | dict[str, Any] | str = NATIVE,
    ) -> None:
        super().__init__()
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"model.label_smoothing is {self.label_smoothing}; must be >= 0 and < 1")
        assert data_spec is not None, "a task needs the spec of its data"
        if data_spec.batch not in (None, *self.batch_types):
            takes = " or ".join(kind.__name__ for kind in self.batch_types)
            raise InputError(
                f"model is app.tasks.{type(self).__name__}, which is trained on {takes}, and data yields "
                f"{data_spec.batch.__name__}; take model and data from the same config"  # type: ignore[union-attr]
            )
        for metric in (self.primary, *self.metrics):
            declare_metric(metric)
        self.norm = NormSpec.parse(norm)
        self.data_spec = data_spec
        self.optimizer_config = optimizer
        self.model_options = {"model_type": backbone.model_type, **data_spec.model_options, **backbone.options}
        self.total_steps: int | None = None  # updates of the whole run, for schedules that end; set before fit
        self.scores: dict[str, float] = {}  # of the latest evaluation, e.g. {"val/loss": 0.5}
        self.examples: dict[str, ExampleCounts] = {}  # of the latest evaluation of val and test, on all processes
        self.score_signatures: dict[str, str] = {}  # how a library computed a score, e.g. sacrebleu's for "bleu"
        self.test_texts: dict[str, list[str]] = {}  # texts of a test, e.g. {"hypothesis": lines}
        self.sites: list[SiteRecord]
        self.left_norms: list[LeftNorm]
        self.model: PreTrainedModel
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # weights depend on the seed alone: no other code may draw before them
            built = build_model(
                backbone,
                self.norm,
                data_options=data_spec.model_options,
                auto_class=self.auto_class,
                placement=PlacementSpec.parse(placement),
            )
            self.model, self.sites, self.left_norms, self.norms_total = *built, built.norms_total
            self.placement = placement_of(self.model)  # of a pretrained model its own
            self.build_head()
            self._freeze_unread()
        self.model_name = backbone.label(self.model.config)  # part of the run folder
        self._check_length()
        self.initial_weights = self._digest_outside_norms()
        self.train_counters = nn.ModuleDict({metric: Ratio() for metric in TRAIN_METRICS})
        self.counters = nn.ModuleDict(
            {split: nn.ModuleDict({metric: Ratio() for metric in self.ratio_metrics}) for split in SPLITS}
        )
        self._collected = {split: ExampleCollector() for split in ("val", "test")}

    @abstractmethod
    def build_head(self) -> None:
        """Create the task's own modules; called under the run's seed, after the backbone has been built."""

    @abstractmethod
    def train_loss(self, batch: Batch) -> TrainLoss:
        """Compute the training loss of a batch."""

    @abstractmethod
    def evaluate(self, batch: Batch, split: str = "val") -> Counts:
        """Count each of `ratio_metrics` on a batch of a split, without dropout and label smoothing.

        Of the metrics in `example_columns`, what is counted of each example is kept, where it is told apart.
        """

    def observe(self, batch: Batch, split: str) -> None:
        """Keep what scores other than ratios need, such as the translations of a batch; nothing by default."""

    def derive(self, split: str, scores: dict[str, float]) -> dict[str, float]:
        """Compute the other scores from the ratios and from what `observe` kept; called on all processes."""
        return {}

    @abstractmethod
    def predict_step(self, batch: Any, batch_idx: int) -> list[Prediction]:
        """Predict each record of a batch."""

    def check_sight(self, batch: Batch) -> None:
        """Refuse a model that does not see all of the input that the task needs; nothing by default.

        Called once in eval mode, before the first step.

        Args:
            batch: a small training batch, whose last example is not padded.

        Raises:
            InputError: naming what the model does not see.
        """

    def forward_pass(self) -> ForwardPass:
        """Return what `python -m app.export RUN --to onnx` writes.

        Raises:
            InputError: if the task does not define it.
        """
        name = type(self).__name__
        raise InputError(
            f"{name} cannot be exported to ONNX: it defines no forward_pass; define {name}.forward_pass, or use --to "
            "FOLDER to export a folder"
        )

    def usage_example(self, folder: str, is_stock: bool, data: Any) -> str:
        """Return Python for the model card that predicts as `train.py predict` does; by default it loads the model.

        Args:
            folder: the exported folder.
            is_stock: whether stock transformers loads the model.
            data: the datamodule of the run.
        """
        return loading_lines(self.auto_class, folder, is_stock)

    def card_notes(self, data: Any) -> list[str]:
        """Return sentences for the model card about what a user has to know; none by default."""
        return []

    def describe(self, model: PreTrainedModel, data: Any) -> None:
        """Write into an exported model's configs what they can say of the task; nothing by default."""

    def save_head(self, folder: Path, data: Any) -> None:
        """Write the parameters of the task that are not the backbone's, if it has any, as head.safetensors."""
        from safetensors.torch import save_file

        head = {name: p.detach().contiguous() for name, p in self.named_parameters() if not name.startswith("model.")}
        if head:
            save_file(head, folder / HEAD_FILE, metadata={"format": "pt"})

    @property
    def input_unit(self) -> str:
        """What the throughput of a run counts: tokens, words, bytes, images or examples."""
        return (self.data_spec.batch or self.batch_types[0]).UNIT

    @property
    def baselines(self) -> dict[str, float]:
        """The test scores of methods that the data itself is enough for, such as accuracy_of_majority."""
        return {f"{self.primary.name}_of_{method}": score for method, score in self.data_spec.baselines.items()}

    @property
    def norms_replaced(self) -> int:
        """The number of norms that are not the model's own."""
        return sum(site.is_replaced for site in self.sites)

    @property
    def site_rows(self) -> list[dict[str, str]]:
        """The rows of norm_sites.csv."""
        rows = [
            {
                "path": site.path,
                "rule": "" if site.rule is None else str(self.norm.rules.index(site.rule) + 1),
                "role": site.context.role,
                "layer": _or_blank(site.context.layer),
                "layers": _or_blank(site.context.layers),
                "width": _or_blank(site.context.width),
                "stack": _or_blank(site.context.stack),
                "old_class": site.old_class,
                "new_norm": site.new_norm,
                "shape": "x".join(map(str, site.shape)),
                "eps": f"{site.eps:g}",
                "copied": " ".join(site.copied),
                "dropped": " ".join(site.dropped),
                "note": site.note,
            }
            for site in self.sites
        ]
        rows += [
            {
                "path": f"{path}.embedding_scale",
                "new_norm": norm_signature("embedding_scale", {"init": scale.init}),
                "note": f"multiplies the input of {path}",
            }
            for path, scale in embedding_scales(self.model).items()
        ]
        return rows + [
            {"path": norm.path, "old_class": norm.class_name, "note": f"left: {norm.reason}"}
            for norm in self.left_norms
        ]

    @property
    def block_lines(self) -> list[str]:
        """Where the norms of each block stand, a line each, such as `layers.0-3: x -> norm -> attention -> +`."""
        return drawn_blocks(self.model)

    @property
    def model_label(self) -> str:
        """The model in a message, such as `model_type 'bert' with norm adanorm(k=0.1,scale=1)`."""
        placement = "" if self.placement.is_native else f" and placement {self.placement}"
        return f"model_type {self.model.config.model_type!r} with norm {self.norm.signature}{placement}"

    @property
    def norm_report(self) -> str:
        """How many norms were replaced, e.g. `norms replaced: 9 of 9 (all)`, and which could not be."""
        report = f"norms replaced: {self.norms_replaced} of {self.norms_total} ({self.norm.sites_label})"
        if not self.norms_total:
            report += f": placement {self.placement} leaves no norm in the model, which trains without"
        elif self.norm.name == "none":
            report += " by none: the model trains without them"
        elif self.norm.name == NATIVE:
            report += ": the model trains with its own"
        if len(self.norm.rules) > 1:
            counts = Counter(site.new_norm for site in self.sites)
            report += f": {', '.join(f'{count} {name}' for name, count in counts.items())}"
        paths: dict[str, list[str]] = {}
        for norm in self.left_norms:
            paths.setdefault(f"{norm.class_name} {norm.reason}", []).append(norm.path)
        if not self.placement.is_native:
            report += f"; placed by {self.placement}"
        report += "".join(
            f"; a learned factor, from {scale.init:.4g}, on the input of {path}"
            for path, scale in embedding_scales(self.model).items()
        )
        return report + "".join(
            f"; {len(of_kind)} left as they are, because {kind}: {name_paths(of_kind)}"
            for kind, of_kind in paths.items()
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the batch's share of the update's loss; undoes the divisions by Lightning and DDP.

        Lightning divides by the number of accumulated batches, DDP by the number of processes.
        """
        objective, nats, units = self.train_loss(batch)
        if batch.is_dummy:
            objective, nats, units = objective * 0.0, nats * 0.0, 0  # keeps a gradient, of zero: DDP waits for it
        self.train_counters["loss"].update(nats, units)  # type: ignore[operator]
        if self.label_smoothing:
            self.train_counters["smoothed_loss"].update(objective, units)  # type: ignore[operator]
        return objective * (self.trainer.world_size * self.trainer.accumulate_grad_batches / batch.loss_denominator)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count on the validation set (loader 0) or the train probe (loader 1)."""
        self._count(batch, SPLITS[dataloader_idx])

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Count on the test set."""
        self._count(batch, "test")

    def on_validation_epoch_end(self) -> None:
        """Compute the scores of the validation set and the train probe."""
        self.scores = {**self._divide("val"), **self._divide("train_probe")}
        self.log_dict(self.scores, logger=False, rank_zero_only=False)

    def on_test_epoch_end(self) -> None:
        """Compute the scores of the test set, and say which baselines the model is not better than."""
        self.scores = self._divide("test")
        self.log_dict(self.scores, logger=False, rank_zero_only=False)
        scores = {key.removeprefix("test/"): score for key, score in self.scores.items()}
        for baseline, own in baselines_not_beaten(scores).items() if self.trainer.is_global_zero else ():
            log.warning(
                "the model is not better than a baseline: test %s %.4f, %s %.4f",
                own,
                scores[own],
                baseline,
                scores[baseline],
            )

    def score_names(self, split: str) -> list[str]:
        """Return the names of the scores of an evaluation of a split, such as val/loss, before there are any."""
        shown = (metric.name for metric in (*self.metrics, self.primary))
        return [f"{split}/{name}" for name in dict.fromkeys((*self.ratio_metrics, *shown, *self.derived_metrics))]

    def take_train_scores(self) -> dict[str, float]:
        """Mean training losses per unit since the last call, over all processes; to be called on all of them.

        `train/loss`, and also `train/smoothed_loss` where that is what is minimised.
        """
        return self._divide_all("train", self.train_counters)

    def configure_optimizers(self) -> Any:
        """Build the optimizer and the schedule of the config."""
        # a fused optimizer unscales gradients too late for clipping; MixedPrecision always refuses it
        precision = self.trainer.precision_plugin
        fused = not isinstance(precision, MixedPrecision) and getattr(precision, "scaler", None) is None
        norms = [
            (self.model.get_submodule(site.path), rule)
            for rule in self.norm.rules
            for site in self.sites
            if site.rule is rule
        ]
        optimizer, scheduler = build_optimizer(self, self.optimizer_config, self.total_steps, fused, norms)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say what the weights are of; keep the counts of the train scores, of all processes."""
        checkpoint["task"] = self._identity()
        if "loops" in checkpoint:  # not where weights alone are saved
            checkpoint[_TRAIN_TOTALS] = {metric: counter.total() for metric, counter in self.train_counters.items()}  # type: ignore[operator]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse weights of another task, norm, placement, vocabulary or classes; restore the counts of train scores.

        Raises:
            InputError: naming what differs.
        """
        earlier_identity = {"placement": NATIVE, **checkpoint.get("task", {})}  # early checkpoints know no other
        for what, now in self._identity().items():
            then = earlier_identity.get(what)
            # early checkpoints of classification do not have their vocabulary
            is_unknown = what == "vocabulary" and not then
            if then != now and not is_unknown:
                if what == "model" and then:  # of its many options those that differ
                    then, now = (_only(one, other) for one, other in ((then, now), (now, then)))
                raise InputError(
                    f"the checkpoint is of {what} {then}, this run has {now}; use the settings it was trained with"
                )

        # the sum over all processes is continued in one of them
        if self._trainer is not None and self.trainer.state.fn == "fit" and self.trainer.is_global_zero:
            earlier = checkpoint.get("run_record", {}).get(_TRAIN_TOTALS, {})  # their place in earlier checkpoints
            for metric, (numerator, denominator) in checkpoint.get(_TRAIN_TOTALS, earlier).items():
                if denominator:
                    self.train_counters[metric].restore(numerator, denominator)  # type: ignore[operator]

    def _identity(self) -> dict[str, Any]:
        return {
            "task": self.name,
            "norm": str(self.norm),
            "placement": str(self.placement),
            "classes": ", ".join(self.data_spec.labels),
            "vocabulary": self.data_spec.vocabulary,
            "model": ", ".join(f"{key}={value}" for key, value in sorted(self.model_options.items())),
        }

    def _freeze_unread(self) -> None:
        """Freeze what no task reads: DDP does not allow trainable parameters without a gradient."""
        for name, parameter in self.model.named_parameters():
            if not set(_UNREAD).isdisjoint(name.split(".")):
                parameter.requires_grad_(False)

    def _digest_outside_norms(self) -> str:
        """Hash all parameters that no norm spec or placement brings: equal for runs with the same seed, whatever these.

        Only deepnorm differs, because it scales initial weights.
        """
        scales = embedding_scales(self).values()
        of_norms = {id(p) for m in (*(site.module for site in norm_sites(self)), *scales) for p in m.parameters()}
        of_norms |= {id(p) for p in branch_scales(self)}
        digest = hashlib.sha256()
        for name, parameter in self.named_parameters():
            if id(parameter) not in of_norms:
                digest.update(name.encode() + parameter.detach().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def _count(self, batch: Batch, split: str) -> None:
        counts = self.evaluate(batch, split)
        for metric, (numerator, denominator) in totals(counts).items():
            if batch.is_dummy:  # counted as nothing, not skipped: all processes have to take part in the division
                numerator, denominator = torch.zeros_like(numerator), 0
            self.counters[split][metric].update(numerator, denominator)  # type: ignore[index]
        if batch.is_dummy:
            return
        if split in self._collected:
            kept = self.example_columns.items()
            columns = {column: counts[metric][place] for column, (metric, place) in kept if metric in counts}
            self._collected[split].update(batch.index, columns)
        self.observe(batch, split)

    def _divide(self, split: str) -> dict[str, float]:
        scores = self._divide_all(split, self.counters[split])
        if split in self._collected:
            self.examples[split] = self._collected[split].collect()
        if not scores:
            return {}
        derived = self.derive(split, {key.removeprefix(f"{split}/"): score for key, score in scores.items()})
        if split == "test":
            derived = derived | self.baselines
        return {**scores, **{f"{split}/{metric}": score for metric, score in derived.items()}}

    @staticmethod
    def _divide_all(split: str, counters: Any) -> dict[str, float]:
        scores = {}
        for metric, ratio in counters.items():
            if ratio.update_called:
                scores[f"{split}/{metric}"] = float(ratio.compute())
            ratio.reset()
        return scores

    def _check_length(self) -> None:
        """Refuse a model with fewer positions than the data has tokens: torch would only report a wrong index."""
        positions = getattr(self.model.config, "max_position_embeddings", None)
        longest = self.data_spec.max_length
        if positions is None or longest is None or positions <= 0:  # -1 is any number, in XLNet
            return
        paddings = [  # in RoBERTa and its relatives, the positions of tokens begin after the id of padding
            module.padding_idx
            for name, module in self.model.named_modules()
            if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None
        ]
        first = max(paddings, default=-1) + 1
        if positions - first < longest:
            why = f", and positions begin at {first}, after the padding id" if first else ""
            raise InputError(
                f"data.max_length is {longest}, and the model is too short for it: its max_position_embeddings is "
                f"{positions}{why}; raise model.backbone.options.max_position_embeddings to {longest + first} or lower "
                f"data.max_length to {positions - first}"
            )


def totals(counts: Counts) -> dict[str, tuple[Tensor, Tensor | int]]:
    """Return the sums of both counts of each metric over the examples of a batch."""
    return {
        metric: (top.sum(), below.sum() if isinstance(below, Tensor) else below)
        for metric, (top, below) in counts.items()
    }


def _or_blank(value: object) -> str:
    return "" if value is None else str(value)


def _only(listed: str, other: str) -> str:
    """The options of a text such as `a=1, b=2` that another one lacks."""
    return ", ".join(option for option in listed.split(", ") if option not in other.split(", ")) or "none of these"
