"""Validation of a checkpoint file before anything is loaded from it: complete, undamaged, plain values only, and ours.

A checkpoint is a zip archive with a checksum for each member, none of which torch compares. A file that is not a zip,
such as a plain pickle, is not opened, and the pickle in the archive is read with weights_only=True, which refuses to
call anything that the file names.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch

from app.errors import InputError

RUN_RECORD = "run_record"  # key of a checkpoint: what callbacks need to resume the run's record
_WEIGHTS = ("state_dict", "task", "global_step")  # in every checkpoint of a run
_TO_RESUME = (*_WEIGHTS, RUN_RECORD, "loops", "optimizer_states", "lr_schedulers", "callbacks")


def check_checkpoint(path: Path, to_resume: bool = False) -> int:
    """Read a whole checkpoint file once, without keeping its tensors in memory.

    Args:
        path: the file.
        to_resume: whether training is to resume from it, which needs more than weights.

    Returns:
        The number of updates before it was written.

    Raises:
        InputError: naming the file and what is wrong with it, if it cannot be read, is truncated, damaged or foreign,
            or needs more than plain values.
    """
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path} is not a valid checkpoint (empty)")
        if not zipfile.is_zipfile(path):  # the directory of a zip is at its end, so a truncated one is not one
            raise InputError(f"{path} is not a valid checkpoint (truncated, overwritten, or a different file type)")
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise InputError(f"{path} is damaged: its member {damaged} does not match its checksum")
        with warnings.catch_warnings(action="ignore"):  # about pickles that torch would write differently
            content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise InputError(f"{path} is damaged ({error})") from error
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} contains more than plain values; it was not loaded, none of its code was run"
        ) from error
    except (RuntimeError, ValueError, KeyError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not a checkpoint of train.py, but another kind of archive") from error
    missing = [key for key in _TO_RESUME if not isinstance(content, dict) or key not in content]
    if not set(missing).isdisjoint(_WEIGHTS):
        raise InputError(f"{path} is not a checkpoint of train.py; it has no {missing[0]!r}")
    if missing and to_resume:
        raise InputError(f"{path} has weights only, from which training cannot resume")
    return int(content["global_step"])
