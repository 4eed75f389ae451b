"""Exports a run's forward pass as an ONNX file, and compares its outputs with torch's."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from app.errors import InputError
from app.export.run import Run
from app.runs.atomic_write import atomic_write
from app.tasks.forward_pass import ForwardPass

_TOLERANCE = 1e-4
_OPSET = 20
_NEEDED, _CHECKER = ("onnx", "onnxscript"), "onnxruntime"


def check_target(path: Path) -> None:
    """Check that a file can be written.

    Raises:
        InputError: if the file exists, its folder does not, or a package is missing.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"--to onnx needs {' and '.join(missing)}: pip install {' '.join(_NEEDED)} (and {_CHECKER}, to compare)"
        )
    if path.exists():
        raise InputError(f"{path} exists; choose another file, or remove it first")
    if not path.parent.is_dir():
        raise InputError(f"--to {path}: there is no folder {path.parent}; create it first")


def write_onnx(run: Run, path: Path) -> list[str]:
    """Write the file, completely or not at all, and compare its outputs with torch's if onnxruntime is installed.

    Args:
        run: the run to export.
        path: a new file.

    Returns:
        Lines for the user.

    Raises:
        InputError: if torch cannot export the model, or the file does not compute what the model does.
    """
    whole = run.task.float().forward_pass().eval()
    worst = write_forward_pass(whole, path)
    inputs, outputs = ", ".join(whole.inputs), ", ".join(whole.output_names)
    compared = f"with torch by onnxruntime: the largest difference of an output is {worst}"
    return [
        f"exported    {run.result['signature']}, {run.weights}",
        f"to          {path}: {inputs} -> {outputs}",
        f"compared    {compared if worst is not None else f'no: pip install {_CHECKER}'}",
    ]


def write_forward_pass(whole: ForwardPass, path: Path) -> str | None:
    """Write and compare; return the largest difference of an output, or None if onnxruntime is missing.

    Raises:
        InputError: as `write_onnx`.
    """
    with atomic_write(path) as part:
        _export(whole, part)
        worst = None if importlib.util.find_spec(_CHECKER) is None else _compare(whole, part)
    return None if worst is None else f"{worst:.1e}"


def _export(whole: ForwardPass, path: Path) -> None:
    try:
        with warnings.catch_warnings(), torch.no_grad(), _quiet():
            warnings.simplefilter("ignore")  # torch and onnxscript warn about each other
            torch.onnx.export(
                whole,
                tuple(whole.inputs.values()),
                str(path),
                dynamo=True,
                external_data=False,
                opset_version=_OPSET,
                input_names=list(whole.inputs),
                output_names=list(whole.output_names),
                dynamic_shapes=whole.dynamic_shapes,
                verbose=False,
            )
    except OSError:
        raise
    except Exception as error:  # torch's exporter fails in as many ways as there are models
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        said = " ".join(str(cause).split())[:300]
        raise InputError(f"torch cannot export this model to ONNX ({type(cause).__name__}: {said})") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the progress messages of torch's exporter and of the packages that it uses."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _compare(whole: ForwardPass, path: Path) -> float:
    """Return the largest difference of an output, also for inputs with other sizes than the export had."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    read = {put.name for put in session.get_inputs()}  # an input that the model does not read is not in the file
    worst = 0.0
    for inputs in (whole.inputs, whole.other_inputs):
        with torch.no_grad():
            expected = whole(*inputs.values())
        got = session.run(None, {name: value.numpy() for name, value in inputs.items() if name in read})
        for name, ours, theirs in zip(whole.output_names, expected, got, strict=True):
            difference = _difference(ours.numpy(), theirs)
            worst = max(worst, difference)
            if not difference <= _TOLERANCE:
                raise InputError(
                    f"onnxruntime's {name} differ from torch's by {difference:.1e}, above {_TOLERANCE:.0e}, so nothing "
                    "was written: torch exports this model wrongly; export a folder"
                )
    return worst


def _difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    if ours.shape != theirs.shape or not np.array_equal(np.isfinite(ours), np.isfinite(theirs)):
        return float("inf")
    finite = np.isfinite(ours)
    return float(np.abs(ours[finite] - theirs[finite]).max(initial=0.0))
