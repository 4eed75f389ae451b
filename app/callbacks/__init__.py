"""Watch the run: scores, gap, record, progress. A callback documents the keys that it writes."""

from app.callbacks.checkpoints import AtomicCheckpointIO, RunCheckpoint, StopEarly, StoppedError
from app.callbacks.compile_model import CompileModel
from app.callbacks.diagnostics.inspect_model import InspectModel
from app.callbacks.diagnostics.norm_gradients import NormGradients
from app.callbacks.diagnostics.norm_parameters import NormParameters
from app.callbacks.diagnostics.overfitting_gap import OverfittingGap
from app.callbacks.divergence import DivergedError, StopWhenDiverged
from app.callbacks.dropout_masks import DropoutMasks
from app.callbacks.error_context import ErrorContext
from app.callbacks.event_files import EventFiles
from app.callbacks.last_step import ValidateLastStep
from app.callbacks.progress import ProgressLines
from app.callbacks.reseed import Reseed
from app.callbacks.run_record import RunRecord
from app.runs.metrics_file import MetricsFile

__all__ = [
    "CompileModel",
    "DivergedError",
    "DropoutMasks",
    "EventFiles",
    "InspectModel",
    "ErrorContext",
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
    "AtomicCheckpointIO",
]
