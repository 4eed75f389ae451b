"""What reaches the person at the terminal, and what does not."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from pytorch_lightning.utilities import rank_zero_only

from app.errors import InputError
from app.errors.system_errors import FULL, cannot_write
from app.runs.atomic_write import report_write_errors

_FORMER_EXCEPTHOOK = threading.excepthook


def configure_logging(command: str | None) -> None:
    """Set up what is said: our own lines as they are, of the libraries only what a person should act on.

    Args:
        command: fit, validate, test or predict; predict's standard output is for predictions.
    """
    if command == "predict" and isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # as what is read, whatever the terminal's locale
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    handler = logging.StreamHandler(sys.stderr if command == "predict" else sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("app")
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO if not rank_zero_only.rank else logging.WARNING)
    threading.excepthook = _thread_excepthook
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # batches are made whole, far faster than a step
        ".*smaller than the logging interval.*",
        ".*is a GPU available but not used.*",
        ".*your dataloader is not resumable.*",  # the batch plan is a function of the position: it is
        ".*callbacks used to create the checkpoint.*",  # those of fit; test and predict need the weights alone
        ".*LeafSpec.* is deprecated.*",  # Lightning 2.6.6 with torch 2.13
    ):
        warnings.filterwarnings("ignore", message=message)


def _thread_excepthook(arguments: threading.ExceptHookArgs) -> None:
    """TensorBoard's thread prints how it died of a full disk, and raises it once more where it is answered."""
    if not (isinstance(arguments.exc_value, OSError) and type(arguments.thread).__name__ == "_AsyncWriterThread"):
        _FORMER_EXCEPTHOOK(arguments)


@contextmanager
def output_stream(output: str) -> Iterator[Callable[[Iterable[str]], None]]:
    """Where predict writes its lines: standard output, at once, or a file, which appears when all is written.

    Args:
        output: a path, or - for standard output.

    Raises:
        InputError: if the file cannot be written.
    """
    if output == "-":

        def write(lines: Iterable[str]) -> None:
            try:
                sys.stdout.writelines(lines)
                sys.stdout.flush()
            except OSError as error:
                if error.errno not in FULL:
                    raise
                raise InputError(cannot_write("standard output", error)) from error

        yield write
        return
    path = Path(output)
    if not path.parent.is_dir():
        raise InputError(f"--output {output}: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise InputError(f"--output {output}: is a folder; give a file in it")
    takes_its_place = not path.exists() or path.is_file()  # not that of a device or a pipe, such as /dev/null
    part = path.with_name(f".{path.name}.part") if takes_its_place else path

    def write_part(lines: Iterable[str]) -> None:
        lines = list(lines)  # made before, so that only writing can fail
        with report_write_errors(path):
            stream.writelines(lines)
            stream.flush()

    try:
        with _opened(part, output) as stream:
            yield write_part
        if takes_its_place:
            with report_write_errors(path):
                part.replace(path)
    finally:
        if takes_its_place:
            part.unlink(missing_ok=True)


def _opened(path: Path, output: str) -> TextIO:
    try:
        return path.open("w", encoding="utf-8", newline="\n")
    except OSError as error:
        raise InputError(f"--output {output}: cannot be written ({error.strerror}); give another file") from error
