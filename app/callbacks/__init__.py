"""Watch the run: scores, gap, record, progress. A callback documents the keys that it writes."""

from app.callbacks.checkpoints import AtomicCheckpointIO, RunCheckpoint
from app.callbacks.compile_model import CompileModel
from app.callbacks.diagnostics.inspect_model import InspectModel
from app.callbacks.diagnostics.norm_gradients import NormGradients
from app.callbacks.diagnostics.norm_parameters import NormParameters
from app.callbacks.diagnostics.overfitting_gap import OverfittingGap
from app.callbacks.error_context import ErrorContext
from app.callbacks.fast_dropout_masks import DropoutMasks
from app.callbacks.metric_lines import MetricLines
from app.callbacks.progress import ProgressLines
from app.callbacks.reseed import Reseed
from app.callbacks.resume_check import ResumeCheck
from app.callbacks.run_files import RunFiles
from app.callbacks.run_result import RunResult
from app.callbacks.scored_module import ScoredModule
from app.callbacks.signals import StopAtSignals
from app.callbacks.stopping import DivergedError, StopEarly, StopWhenDiverged
from app.callbacks.tensorboard import EventFiles
from app.runs.metrics_file import MetricsFile

__all__ = [
    "AtomicCheckpointIO",
    "CompileModel",
    "DivergedError",
    "DropoutMasks",
    "ErrorContext",
    "EventFiles",
    "InspectModel",
    "MetricLines",
    "MetricsFile",
    "NormGradients",
    "NormParameters",
    "OverfittingGap",
    "ProgressLines",
    "Reseed",
    "ResumeCheck",
    "RunCheckpoint",
    "RunFiles",
    "RunResult",
    "ScoredModule",
    "StopAtSignals",
    "StopEarly",
    "StopWhenDiverged",
]
