"""What a checkpoint file must be before anything is loaded from it: whole, of plain values alone, and one of ours.

A checkpoint is a zip archive with a checksum for each of its parts; torch compares none of them. What is no zip, such
as a plain pickle, is not opened, and the pickle in the archive is read with weights_only=True, which refuses to call
anything that the file names.
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
_WEIGHTS = ("state_dict", "task", "global_step")  # what every checkpoint of a run holds
_TO_RESUME = (*_WEIGHTS, RUN_RECORD, "loops", "optimizer_states", "lr_schedulers", "callbacks")


def check_checkpoint(path: Path, to_resume: bool = False) -> int:
    """Read all of a checkpoint file once, keeping none of its tensors in memory.

    Args:
        path: the file.
        to_resume: training is to go on from it, which takes more than weights.

    Returns:
        The updates that were done when it was written.

    Raises:
        InputError: that names the file and says what is wrong with it, if it cannot be read, is cut short, damaged or
            foreign, or asks for more than plain values.
    """
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path} is no whole checkpoint: it is empty")
        if not zipfile.is_zipfile(path):  # the directory of a zip stands at its end, so one cut short is none
            raise InputError(f"{path} is no whole checkpoint: cut short, overwritten, or another kind of file")
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise InputError(f"{path} is damaged: its part {damaged} is not as it was written")
        with warnings.catch_warnings(action="ignore"):  # of pickles that torch would write in another way
            content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise InputError(f"{path} is damaged ({error})") from error
    except pickle.UnpicklingError as error:
        raise InputError(f"{path} asks for more than plain values, and is not loaded; nothing of it was run") from error
    except (RuntimeError, ValueError, KeyError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is no checkpoint of train.py, but another kind of archive") from error
    missing = [key for key in _TO_RESUME if not isinstance(content, dict) or key not in content]
    if not set(missing).isdisjoint(_WEIGHTS):
        raise InputError(f"{path} is no checkpoint of train.py; it holds no {missing[0]!r}")
    if missing and to_resume:
        raise InputError(f"{path} holds weights alone, which training cannot go on from")
    return int(content["global_step"])
