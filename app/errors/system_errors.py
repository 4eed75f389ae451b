"""Failures of the machine, as Python and torch raise them: no defect of the program, and no mistake of the user.

Each is answered as a user's mistake is: by a line that says what happened and what to do.
"""

from __future__ import annotations

import errno
import os
import re
import traceback
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REMEDIES = {
    errno.ENOSPC: "free space there, or choose a folder on another disk",
    errno.EDQUOT: "free space in your quota, or choose a folder on another disk",
    errno.EFBIG: "raise the limit on file size (ulimit -f), or choose a folder on another file system",
    errno.EROFS: "choose a folder that is writable",
    errno.EACCES: "choose a folder that you may write to, or change its permissions",
    errno.EPERM: "choose a folder that you may write to, or change its permissions",
}
_LOST_PROCESS = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")


def describe_system_error(error: BaseException) -> str | None:
    """The line for the user, or None if the machine is not to blame."""
    if (loader := _lost_loader(error)) is not None:
        return (
            f"a loader process{loader} ended unexpectedly, as when the system runs out of memory and kills it: lower "
            "data.workers; if it is a defect, data.workers 0 shows it"
        )
    if is_out_of_memory(error):
        return "out of memory"
    message = str(error)
    if isinstance(error, OSError):
        fault = _from_loader(error) if "DataLoader worker process" in message else error
    elif match := re.search(r"\(os error (\d+)\)", message):  # of libraries in Rust: tokenizers, safetensors
        fault = OSError(int(match[1]), os.strerror(int(match[1])))
    elif isinstance(error, RuntimeError) and any(words in message for words in _LOST_PROCESS):
        return "another process of this run has ended, so this one stops; see the output of the other one"
    else:
        return None
    if fault.errno in _REMEDIES:
        return cannot_write(fault.filename or "a file of this run", fault)
    if fault.filename is not None and fault.strerror:
        return f"{fault.filename}: {fault.strerror}; it must stay there while the command runs"
    return None


def cannot_write(path: Path | str, error: OSError) -> str:
    """The message about a file that the operating system does not let the user write."""
    remedy = _REMEDIES.get(error.errno or 0, "check the folder, or choose another one")
    return f"{path}: cannot be written ({error.strerror or error}); {remedy}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: of Python and numpy, of a GPU, or of torch on the CPU."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and (type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error))
    )


def original_message(error: BaseException) -> str:
    """The message of an error, without the traceback that a loader process puts before it."""
    return str(error).rstrip().rpartition(f"\n{type(error).__module__}.{type(error).__name__}: ")[2]


def _lost_loader(error: BaseException) -> str | None:
    """If a loader process has died: its id in brackets, or "" where torch does not name it; else None."""
    if match := re.match(r"DataLoader worker \(pid\(s\) ([\d, ]+)\) exited unexpectedly", str(error)):
        return f" ({match[1]})"
    # the thread that pins memory for a GPU dies of the error below
    if str(error) == "Pin memory thread exited unexpectedly" or _is_of_shared_tensor(error):
        return ""
    return None


def _is_of_shared_tensor(error: BaseException) -> bool:
    """Whether a tensor could not be fetched from a loader process, which has died but still counts as alive."""
    return isinstance(error, (OSError, EOFError)) and any(
        frame.f_globals["__name__"] == "multiprocessing.resource_sharer"
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def _from_loader(error: OSError) -> OSError:
    """An error as it was raised in a loader process, which sends its text alone."""
    match = re.match(r"\w+: \[Errno (\d+)\] (.+?)(?:: '(.*)')?$", str(error).rstrip().splitlines()[-1])
    return OSError(int(match[1]), match[2], match[3]) if match else error
