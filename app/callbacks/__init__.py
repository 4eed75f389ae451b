"""Watch the run: scores, gap, record, progress. A callback documents the keys that it writes."""

from app.callbacks.checkpoints import RunCheckpoint, StopEarly, StoppedError, WholeFiles
from app.callbacks.compile_model import CompileModel
from app.callbacks.divergence import DivergedError, StopWhenDiverged
from app.callbacks.dropout_masks import DropoutMasks
from app.callbacks.event_files import EventFiles
from app.callbacks.inspect_model import InspectModel
from app.callbacks.last_step import ValidateLastStep
from app.callbacks.last_words import LastWords
from app.callbacks.metrics_file import MetricsFile
from app.callbacks.norm_gradients import NormGradients
from app.callbacks.norm_parameters import NormParameters
from app.callbacks.overfitting_gap import OverfittingGap
from app.callbacks.progress import ProgressLines
from app.callbacks.reseed import Reseed
from app.callbacks.run_record import RunRecord

__all__ = [
    "CompileModel",
    "DivergedError",
    "DropoutMasks",
    "EventFiles",
    "InspectModel",
    "LastWords",
    "MetricsFile",
    "NormGradients",
    "NormParameters",
    "OverfittingGap",
    "ProgressLines",
    "Reseed",
    "RunCheckpoint",
    "RunRecord",
    "StopEarly",
    "StopWhenDiverged",
    "StoppedError",
    "ValidateLastStep",
    "WholeFiles",
]
