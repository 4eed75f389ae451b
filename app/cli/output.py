"""The output of a command: its log, the warnings of libraries that are shown, and where predict writes."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Literal, TextIO

from pytorch_lightning.utilities import rank_zero_only
from tqdm import tqdm
from transformers.utils.logging import disable_progress_bar

from app.errors import InputError
from app.errors.system_errors import FULL, cannot_write
from app.progress import bar_wanted
from app.runs.atomic_write import report_write_errors

_FORMER_EXCEPTHOOK = threading.excepthook


def configure_logging(command: str | None) -> None:
    """Log our own lines as they are, and of the libraries only what the user should act on.

    Args:
        command: fit, validate, test or predict; predict's standard output is for predictions.
    """
    if command == "predict" and isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # as its input is read, whatever the locale
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    handler = _LinesAboveBars("stderr" if command == "predict" else "stdout")
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("app")
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO if not rank_zero_only.rank else logging.WARNING)
    threading.excepthook = _thread_excepthook
    if not bar_wanted():
        disable_progress_bar()  # of transformers, and of the hub's downloads
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # collating a batch is far faster than a step
        ".*smaller than the logging interval.*",
        ".*is a GPU available but not used.*",
        ".*your dataloader is not resumable.*",  # it is: the batch plan is a function of the position
        ".*callbacks used to create the checkpoint.*",  # those of fit; test and predict need only the weights
        ".*sync_dist=True.*",  # scores are of all processes before they are logged
        ".*LeafSpec.* is deprecated.*",  # Lightning 2.6.6 with torch 2.13
    ):
        warnings.filterwarnings("ignore", message=message)


class _LinesAboveBars(logging.StreamHandler[TextIO]):
    """Writes lines above the progress bars of a terminal, which stay whole."""

    def __init__(self, stream: Literal["stdout", "stderr"]) -> None:
        super().__init__()
        self._stream: Literal["stdout", "stderr"] = stream

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        self.stream = getattr(sys, self._stream)  # now, as rich replaces it while it draws a bar
        with tqdm.external_write_mode():
            super().emit(record)


def _thread_excepthook(arguments: threading.ExceptHookArgs) -> None:
    """Silence TensorBoard's writer thread on a full disk: it raises the same error again in the main thread."""
    if not (isinstance(arguments.exc_value, OSError) and type(arguments.thread).__name__ == "_AsyncWriterThread"):
        _FORMER_EXCEPTHOOK(arguments)


@contextmanager
def output_stream(output: str) -> Iterator[Callable[[Iterable[str]], None]]:
    """Give the function that writes lines of predict: to standard output at once, or to a file that appears at the end.

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
        raise InputError(f"--output {output}: there is no folder {path.parent}; create it first")
    if path.is_dir():
        raise InputError(f"--output {output}: is a folder; pass a file in it")
    is_regular = not path.exists() or path.is_file()  # not a device or a pipe, such as /dev/null
    part = path.with_name(f".{path.name}.part") if is_regular else path

    def write_part(lines: Iterable[str]) -> None:
        lines = list(lines)  # computed first, so that only writing can fail
        with report_write_errors(path):
            stream.writelines(lines)
            stream.flush()

    try:
        with _opened(part, output) as stream:
            yield write_part
        if is_regular:
            with report_write_errors(path):
                part.replace(path)
    finally:
        if is_regular:
            part.unlink(missing_ok=True)


def _opened(path: Path, output: str) -> TextIO:
    try:
        return path.open("w", encoding="utf-8", newline="\n")
    except OSError as error:
        raise InputError(f"--output {output}: cannot be written ({error.strerror}); pass another file") from error
