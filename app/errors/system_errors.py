"""What a machine can do to a run, told by what Python and torch raise for it: no defect of ours, and nobody's typing.

A fault is answered like what a person typed: a line that says what happened and what to do.
"""

from __future__ import annotations

import errno
import os
import re
import traceback
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REMEDIES = {
    errno.ENOSPC: "make room there, or choose a folder on another disk",
    errno.EDQUOT: "make room in your quota, or choose a folder on another disk",
    errno.EFBIG: "raise the limit on a file's size (ulimit -f), or choose a folder on another file system",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "choose a folder that you may write, or have it made yours",
    errno.EPERM: "choose a folder that you may write, or have it made yours",
}
_UNWRITABLE = (*FULL, errno.EROFS, errno.EACCES, errno.EPERM)
_LOST_PROCESS = (
    "Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited",
)  # fmt: skip


def describe_system_error(error: BaseException) -> str | None:
    """The line for a person, or None if the machine is not to blame."""
    if (process := _lost_loader(error)) is not None:
        return (
            f"a loader process{process} ended unexpectedly, as when memory runs out and the system kills it: lower "
            "data.workers; or it has a defect, which data.workers 0 shows"
        )
    if isinstance(error, OSError):
        return _of_a_file(error)
    if is_out_of_memory(error):
        return "out of memory"
    message = str(error)
    if match := re.search(r"\(os error (\d+)\)", message):  # of libraries in Rust: tokenizers, safetensors
        fault = OSError(int(match[1]), os.strerror(int(match[1])))
        return cannot_write("a file of this command", fault) if fault.errno in _UNWRITABLE else None
    if isinstance(error, RuntimeError) and any(words in message for words in _LOST_PROCESS):
        return "another process of this run has ended, so this one cannot go on; see what that one said"
    return None


def cannot_write(path: Path | str, error: OSError) -> str:
    """What to tell a person whose file the operating system does not let be written."""
    remedy = _REMEDIES.get(error.errno or 0, "see to the folder, or choose another one")
    return f"{path}: cannot be written ({error.strerror or error}); {remedy}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python's and numpy's own, a GPU's, or what torch takes from the system."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and (type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error))
    )


def _lost_loader(error: BaseException) -> str | None:
    """If a loader process has died: its number in brackets, as far as torch names it; else None."""
    if match := re.match(r"DataLoader worker \(pid\(s\) ([\d, ]+)\) exited unexpectedly", str(error)):
        return f" ({match[1]})"
    if str(error) == "Pin memory thread exited unexpectedly":  # the thread that fetches for a GPU, of the error below
        return ""
    frames = traceback.walk_tb(error.__traceback__)
    if isinstance(error, (OSError, EOFError)) and any(
        frame.f_globals["__name__"] == "multiprocessing.resource_sharer" for frame, _ in frames
    ):  # it was gone while a tensor was fetched from it, and not reaped yet: torch held it to be alive
        return ""
    return None


def original_message(error: BaseException) -> str:
    """The message of an error, without the traceback that a loader process puts around it."""
    return str(error).rstrip().rpartition(f"\n{type(error).__module__}.{type(error).__name__}: ")[2]


def _of_a_file(error: OSError) -> str | None:
    if "DataLoader worker process" in str(error):
        error = _unwrapped(error)
    if error.errno in _UNWRITABLE:
        return cannot_write(error.filename or "a file of this run", error)
    if error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}; it must stay there while the command runs"
    return None


def _unwrapped(error: OSError) -> OSError:
    """As it was raised in a loader process, which sends its text alone."""
    match = re.match(r"\w+: \[Errno (\d+)\] (.+?)(?:: '(.*)')?$", str(error).rstrip().splitlines()[-1])
    return OSError(int(match[1]), match[2], match[3]) if match else error
