"""The run folder: its lock, the data spec and the checkpoints in it, and which of them a command takes."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from app.errors import InputError
from app.runs.atomic_write import atomic_write
from app.runs.checkpoint_file import check_checkpoint

LOCK = "run.lock"
CHECKPOINTS = "checkpoints"
_REQUEUED = "requeued"  # names the job that stopped for SLURM to requeue it, and the run's settings
DATA_SPEC, _DATA_SPEC_BEFORE = "data_spec.json", "facts.json"  # what predict must know of the training data

log = logging.getLogger(__name__)


def lock_run_folder(folder: Path) -> IO[str]:
    """Lock a run folder for this process, until the returned file is closed or the process ends, however it ends.

    Raises:
        InputError: if another process has it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / LOCK, "a+", encoding="utf-8")  # stays open: closing it gives the folder back
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}); use another --run_root") from error
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock, not handed on to loader processes
    except OSError:
        lock.seek(0)
        owner = lock.read().strip() or "another process"
        lock.close()
        raise InputError(f"{folder} is in use by {owner}; wait for it, or use another --run_root") from None
    lock.truncate(0)
    lock.write(f"process {os.getpid()}")
    lock.flush()
    return lock


def is_in_use(folder: Path) -> bool:
    """Whether another process has the folder now; asked without taking it, on Linux alone (elsewhere False).

    Not for the process that has it: closing the file again would give the folder back.
    """
    layout = "hhqqi4x"  # struct flock: type, whence, start, length, process
    if sys.platform != "linux":
        return False
    try:
        with open(folder / LOCK, "rb") as file:
            answer = fcntl.fcntl(file, fcntl.F_GETLK, struct.pack(layout, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except OSError:  # not there, renamed meanwhile, another user's, on a file system without locks
        return False
    return bool(struct.unpack(layout, answer)[0] != fcntl.F_UNLCK)


def archive_previous_run(folder: Path) -> Path | None:
    """Make room for a new run without losing an old one: an earlier run is renamed to `<folder>.<its time>`.

    Returns:
        Where the earlier run is now; None if it stayed, or there was none.
    """
    if not folder.exists() or all(path.name == LOCK for path in folder.iterdir()):
        return None
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(folder.stat().st_mtime))
    target = folder.with_name(f"{folder.name}.{stamp}")
    number = 1
    while target.exists():
        number += 1
        target = folder.with_name(f"{folder.name}.{stamp}-{number}")
    folder.rename(target)
    return target


def find_checkpoint(folder: Path, which: str, to_resume: bool = False) -> Path:
    """The sound file of `--ckpt_path`: `last` or `best` of a run folder, or a path.

    Args:
        folder: of the run.
        which: what was asked for.
        to_resume: training is to resume from it, which needs more than weights.

    Raises:
        InputError: if there is no such file, or it is not a valid checkpoint.
    """
    path = folder / CHECKPOINTS / f"{which}.ckpt" if which in ("last", "best") else Path(which)
    if not path.is_file():
        raise InputError(f"--ckpt_path {which}: there is no file {path}; pass last, best or the path of a .ckpt file")
    try:
        check_checkpoint(path, to_resume)
    except InputError as error:
        other = ", or start a new run without it" if to_resume else " to test or predict with, such as last"
        raise InputError(f"{error}; use another --ckpt_path{other}") from error
    return path


def write_data_spec(folder: Path, data_spec: dict[str, Any]) -> None:
    """Keep what predict must know of the training data; whole or not at all, for a predict may read it meanwhile."""
    with atomic_write(folder / DATA_SPEC) as part:
        part.write_text(json.dumps(data_spec, ensure_ascii=False), encoding="utf-8")


def read_data_spec(folder: Path) -> dict[str, Any] | None:
    """What `write_data_spec` wrote, under its name of today or the earlier one; None where a run kept none."""
    for name in (DATA_SPEC, _DATA_SPEC_BEFORE):
        if (folder / name).exists():
            return json.loads((folder / name).read_text(encoding="utf-8"))
    return None


def weights_name(step: int) -> str:
    """File name of the weights alone of a validation."""
    return f"weights-{step:09d}.ckpt"


def kept_weights(checkpoints: Path) -> list[Path]:
    """The weights that a run keeps of its last validations, the oldest first."""
    return sorted(checkpoints.glob("weights-*.ckpt"))


def weights_to_average(folder: Path, count: int) -> list[Path]:
    """The files of `--average_checkpoints`: the last `count`, or all of a run that had fewer validations.

    Raises:
        InputError: if the run kept none, or one of them is not sound.
    """
    kept = kept_weights(folder / CHECKPOINTS)
    if not kept:
        raise InputError(
            f"--average_checkpoints {count}: {folder} keeps no weights to average; train with --average_checkpoints "
            f"{count}, or use one checkpoint: --ckpt_path best"
        )
    for path in kept[-count:]:
        try:
            check_checkpoint(path)
        except InputError as error:
            raise InputError(f"{error}; use one checkpoint instead: --ckpt_path best") from error
    return kept[-count:]


def resolve_resume_checkpoint(folder: Path, which: str | None) -> Path | None:
    """The checkpoint that fit resumes from; None for a fit that starts from the beginning.

    `last` is the newest sound one: last.ckpt, or else best.ckpt, from which the same last.ckpt is reached again. Where
    there is none yet, the run starts from the beginning, so that one command serves a first start and a restart.

    Raises:
        InputError: if the file asked for is not there, is of another run, or none of the files there is sound.
    """
    if which is None:
        return None
    if which == "last":
        return _newest_sound(folder)
    checkpoint = find_checkpoint(folder, which, to_resume=True)
    if folder.resolve() not in checkpoint.resolve().parents:
        raise InputError(
            f"the checkpoint {checkpoint} is not of this run, whose folder is {folder}; pass the settings and the "
            "--run_root of its own run, or start a new run without --ckpt_path"
        )
    return checkpoint


def _newest_sound(folder: Path) -> Path | None:
    last, best = (folder / CHECKPOINTS / f"{name}.ckpt" for name in ("last", "best"))
    there = [path for path in (last, best) if path.is_file()]
    if not there:
        log.info("--ckpt_path last: no checkpoint in %s yet, starting from the beginning", folder)
        return None
    faults = [] if last in there else [f"{last} is not there"]
    for path in there:
        try:
            step = check_checkpoint(path, to_resume=True)
        except InputError as error:
            faults.append(str(error))
            continue
        if faults:
            log.info("%s; resuming from %s next to it, of step %d", faults[0], path.name, step)
        return path
    raise InputError(f"{'; '.join(faults)}; --ckpt_path last has nothing to resume from; start a new run without it")


def repair_last_checkpoint(folder: Path, checkpoint: Path) -> None:
    """Replace an invalid last.ckpt by best.ckpt, if that is what the run resumes from."""
    last, best = (folder / CHECKPOINTS / f"{name}.ckpt" for name in ("last", "best"))
    if checkpoint == best:
        with atomic_write(last) as part:
            hardlink_or_copy(best, part)


def mark_requeued(folder: Path, job: str, config: str) -> None:
    """Note that SLURM will start a job again, which is to resume the run with these settings."""
    with atomic_write(folder / _REQUEUED) as part:
        part.write_text(f"{job}\n{config}", encoding="utf-8")


def is_requeued(folder: Path, job: str, config: str) -> bool:
    """Whether a run was stopped by this job of SLURM, with the same settings, to be resumed by it."""
    path = folder / _REQUEUED
    return path.is_file() and path.read_text(encoding="utf-8") == f"{job}\n{config}"


def unmark_requeued(folder: Path) -> None:
    """Remove the note when the run has ended."""
    (folder / _REQUEUED).unlink(missing_ok=True)


def hide_requeue_checkpoints(folder: Path) -> None:
    """Move checkpoints that Lightning would resume from, whatever it is given, out of its sight.

    Earlier versions of train.py let Lightning write them before SLURM requeued the job.
    """
    for path in folder.glob("hpc_ckpt_*"):
        (folder / CHECKPOINTS).mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # another process of the run was faster
            path.rename(folder / CHECKPOINTS / path.name)


def hardlink_or_copy(source: Path, target: Path) -> None:
    """The same content under a second name, without writing it twice where the file system has hard links."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def take_folder(folder: Path, begins: bool, was_to_resume: bool) -> IO[str]:
    """Lock the run folder for a fit; a run that begins gets an empty one.

    Args:
        folder: of the run.
        begins: the run starts from the beginning.
        was_to_resume: the user asked to resume.

    Raises:
        InputError: if another process has it, or it cannot be written.
    """
    lock = lock_run_folder(folder)
    if begins and (earlier := archive_previous_run(folder)):
        hint = "" if was_to_resume else " (to resume a run, pass --ckpt_path last)"
        log.info("an earlier run is kept in %s%s", earlier, hint)
        lock.close()
        lock = lock_run_folder(folder)
    return lock
