"""The command predict: from a file or standard input to a file or standard output, in chunks and in order."""

from __future__ import annotations

import logging
import os
import signal
import sys
from itertools import chain
from pathlib import Path

from pytorch_lightning import Trainer

from app.callbacks.progress import PredictProgress
from app.cli.output import output_stream
from app.datamodules.base import DataModule
from app.errors import InputError
from app.errors.stop_signals import StoppedError, StopSignals
from app.progress import bar_wanted
from app.runs.folder import DATA_SPEC, read_data_spec
from app.tasks import Task
from app.tasks.prediction import Format, PredictionLines

log = logging.getLogger(__name__)


def restore_spec(datamodule: DataModule, folder: Path) -> None:
    """Restore the data spec that a run kept, so that its training data need not be there.

    Raises:
        InputError: for a data spec that is no longer what the run wrote.
    """
    try:
        kept = read_data_spec(folder)
        if kept is not None:
            datamodule.restore_spec(kept)
    except InputError:
        raise
    except Exception as error:  # the user may have changed anything in it
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"{folder / DATA_SPEC}: is not what the run wrote ({reason}); copy it again, or remove it to read the "
            "training data instead"
        ) from error


def predict(
    trainer: Trainer, model: Task, datamodule: DataModule, weights: Path | None, output: str, form: Format | None
) -> None:
    """Write one record for each record read, in order; those of standard input as they arrive.

    Args:
        trainer: of one process.
        model: the task.
        datamodule: knows its `predict_source`.
        weights: the checkpoint; None if the model has its weights.
        output: a path, or - for standard output.
        form: of what is written.

    Raises:
        InputError: for a source that cannot be read or an output that cannot be written; no file is left behind.
        StoppedError: after a signal, or when the reader of standard output is gone; no file is left behind.
    """
    datamodule.workers = 0  # for one line at a time, loader processes would cost more than they save
    lines = PredictionLines(form, model.output_fields)
    written = "not all was written" if output == "-" else f"{output} is not written"
    with StopSignals(f"in predict; {written}"):
        splits = datamodule.predict_splits()
        progress = PredictProgress(splits.total, has_bar=output != "-" and bar_wanted())
        trainer.callbacks.append(progress)
        try:
            with output_stream(output) as write:
                for split in splits:
                    loader = datamodule.eval_loader(split)
                    batches = trainer.predict(model, loader, ckpt_path=weights, weights_only=True)
                    weights = None  # they are in the model now
                    write(lines(sorted(chain.from_iterable(batches or []), key=lambda prediction: prediction.index)))
        except BrokenPipeError:
            # what is left in the buffer would be flushed when Python ends, and fail again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise StoppedError(signal.SIGPIPE, "in predict; the reader of standard output is gone") from None
        finally:
            progress.close()
    log.info("%s, written to %s", progress.closing_line(), "standard output" if output == "-" else output)
