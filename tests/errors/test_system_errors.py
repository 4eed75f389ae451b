"""Failures of the machine, as Python and torch really raise them, are explained."""

import errno
import os
import resource
import signal
import time
from multiprocessing import resource_sharer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from app.batches import TextBatch
from app.callbacks import ErrorContext, EventFiles
from app.cli.output import _thread_excepthook
from app.cli.parser_errors import explain
from app.datamodules.batching.loader import PlanLoader
from app.datamodules.image_classification.reader import read_labelled_images
from app.datamodules.io.files import read_bytes
from app.datamodules.io.tables import label_value, read_rows
from app.errors import InputError
from app.runs.atomic_write import atomic_write
from app.runs.checkpoint_file import check_checkpoint
from app.runs.folder import repair_last_checkpoint, resolve_resume_checkpoint
from app.runs.metrics_file import MetricsFile, read_events
from tests.conftest import mostly_slow


def raised_by(function):
    """The exception that a function ends with."""
    try:
        function()
    except Exception as error:
        return error.with_traceback(None)  # which would keep a loader, and its processes, alive
    raise AssertionError("it raised nothing")


class Rows(Dataset):
    """Does something in whatever process reads it."""

    def __init__(self, read, count=1):
        self.read, self.count = read, count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return self.read(index)


def in_loader(read):
    """The exception that arrives when a loader process reads."""
    return raised_by(lambda: list(PlanLoader(Rows(lambda _: read()), num_workers=1)))


FAULTS = {
    "torch, CPU": (lambda: raised_by(lambda: torch.empty(10**15)), ["out of memory"]),
    "torch, GPU": (lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."), ["out of memory"]),
    "numpy": (lambda: raised_by(lambda: np.empty(10**15)), ["out of memory"]),
    "killed": (lambda: in_loader(lambda: os.kill(os.getpid(), signal.SIGKILL)), ["loader process", "data.workers"]),
    "killed, before a GPU": (
        lambda: RuntimeError("Pin memory thread exited unexpectedly"),
        ["loader process", "data.workers"],
    ),
    "vanished": (
        lambda: in_loader(lambda: Path("/gone/file").read_bytes()),
        ["/gone/file: No such file or directory", "must stay there"],
    ),
    "answered in a loader process": (
        lambda: in_loader(lambda: read_bytes(Path("/gone/file"))),
        ["/gone/file: cannot be read (No such file or directory)"],
    ),
    "disk": (lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), ["a file of this run", "free space"]),
    "quota": (lambda: OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "/x/y"), ["/x/y", "quota"]),
    "rights": (lambda: PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/x/y"), ["/x/y", "you may write to"]),
    "lost process": (
        lambda: RuntimeError(
            "[../third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]"
        ),
        ["another process of this run has ended"],
    ),
}


@pytest.mark.parametrize("fault", mostly_slow(FAULTS, *(name for name in FAULTS if name != "killed")))
def test_faults_are_explained_in_a_line(fault):
    make, words = FAULTS[fault]
    answer = explain(make())
    assert answer is not None and "\n" not in answer
    for word in words:
        assert word in answer


def test_an_exception_among_its_own_causes_is_explained():
    first, second = ValueError("a"), OSError(errno.ENOSPC, "full")
    first.__context__, second.__context__ = second, first
    assert "free space" in explain(second)


def test_a_loader_that_dies_with_a_batch_to_be_fetched_is_explained(tmp_path):
    """Its socket closes a moment before it can be reaped, and torch finds it alive: that moment is held here."""
    moments = {name: tmp_path / name for name in ("sent", "closed", "over")}

    def wait_for(moment):
        deadline = time.monotonic() + 60
        while not moments[moment].exists() and time.monotonic() < deadline:
            time.sleep(0.01)

    def read(index):
        if index:
            wait_for("sent")
            resource_sharer.stop()
            moments["closed"].touch()
            wait_for("over")
            os._exit(0)
        return torch.zeros(3)

    batches = iter(PlanLoader(Rows(read, 2), batch_size=None, num_workers=1, timeout=60))
    while batches._data_queue.empty():
        assert batches._workers[0].is_alive()
        time.sleep(0.01)
    moments["sent"].touch()
    wait_for("closed")
    try:
        with pytest.raises(OSError) as raised:
            next(batches)
        answer = explain(raised.value)
    finally:
        moments["over"].touch()
    assert answer is not None and "a loader process ended" in answer and "lower data.workers" in answer


@pytest.mark.parametrize("error", [RuntimeError("shapes"), OSError("of a library"), KeyError("x"), ValueError("x")])
def test_defects_are_not(error):
    assert explain(error) is None


def batch(count, length):
    ids = torch.zeros(count, length, dtype=torch.long)
    return TextBatch(torch.arange(count), count, False, ids, ids, torch.zeros(count), count * length)


def test_out_of_memory_in_evaluation_names_the_batch_and_the_setting(tmp_path):
    words = ErrorContext("data.batch_tokens (64)", "data.eval_batch_factor (4)")
    trainer = SimpleNamespace(global_step=30, default_root_dir=str(tmp_path))
    words.on_validation_batch_start(trainer, None, batch(2, 7), 0)
    words.on_validation_batch_end(trainer, None, None, batch(2, 7), 0)
    words.on_validation_batch_start(trainer, None, batch(3, 5), 1)
    error = torch.OutOfMemoryError("CUDA out of memory")
    words.on_exception(trainer, None, error)
    assert explain(error) == (
        "out of memory at step 30, in validation, on a batch of 3 examples (input_ids 3 x 5); "
        "lower data.eval_batch_factor (4)"
    )


@pytest.fixture
def at_most_100_bytes():
    """No file grows beyond that: the operating system writes what fits, and refuses the rest."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, former[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, former)


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path, at_most_100_bytes):
    path = tmp_path / "file"
    path.write_text("former")
    with pytest.raises(InputError, match=r"file: cannot be written \(File too large\); raise the limit"):
        with atomic_write(path) as part:
            part.write_text("x" * 5000)
    with pytest.raises(InputError, match=r"file: cannot be written \(File too large\)"):
        with atomic_write(path) as part, open(part, "wb") as stream:
            torch.save({"a": torch.zeros(1000)}, stream)
    with pytest.raises(KeyError):
        with atomic_write(path) as part:
            part.write_text("new")
            raise KeyError
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"file": "former"}
    with atomic_write(path) as part:
        part.write_text("new")
    assert path.read_text() == "new"


def test_a_line_of_metrics_that_does_not_fit_is_said_and_the_ones_before_stay(tmp_path, at_most_100_bytes):
    file = MetricsFile(tmp_path)
    file.log_metrics({"epoch": 1, "train/loss": 0.5}, step=10)
    with pytest.raises(InputError, match=r"metrics.jsonl: cannot be written"):
        for step in (20, 30, 40):
            file.log_metrics({"epoch": 1, "train/loss": 0.5}, step=step)
    assert [event["step"] for event in read_events(tmp_path)] == [10, 20]


def test_event_files_that_do_not_fit_are_said_once(tmp_path, at_most_100_bytes, monkeypatch):
    monkeypatch.setattr("threading.excepthook", _thread_excepthook)
    events = EventFiles(tmp_path)
    with pytest.raises(InputError, match=r"tensorboard: cannot be written \(File too large\)"):
        for step in range(1000):
            events.log_metrics({"train/loss": 0.5}, step=step)
            time.sleep(0.01)  # until TensorBoard's thread has written
    events.finalize("failed")


def test_a_line_of_metrics_that_is_not_an_event_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "epoch": 1}\n\0\0\0\n')
    with pytest.raises(InputError, match=r"metrics.jsonl:2: is not an event"):
        read_events(tmp_path)


def save(path, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": {"w": torch.arange(5000.0)}, "task": {}, "global_step": 7, **more}, path)


FULL = {key: {} for key in ("run_record", "loops", "optimizer_states", "lr_schedulers", "callbacks")}


def test_soundness_is_told_from_every_kind_of_damage(tmp_path):
    path = tmp_path / "a.ckpt"
    save(path, **FULL)
    assert check_checkpoint(path, to_resume=True) == 7
    whole = path.read_bytes()
    middle = len(whole) // 2
    damages = {
        b"": r"is not a valid checkpoint \(empty\)",
        whole[:-1]: "is not a valid checkpoint",
        whole[:middle]: "is not a valid checkpoint",
        bytes(len(whole)): "is not a valid checkpoint",
        b"{}": "is not a valid checkpoint",
        whole[:middle] + bytes(64) + whole[middle + 64 :]: "is damaged",
        bytes(64) + whole[64:]: "is damaged",
    }
    for content, words in damages.items():
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"a.ckpt.*{words}"):
            check_checkpoint(path)
    for foreign, words in (
        ({"w": torch.zeros(2)}, "'state_dict'"),
        ({"state_dict": {}, "epoch": 1}, "'task'"),
        ([1], ""),
    ):
        torch.save(foreign, path)
        with pytest.raises(InputError, match=f"a.ckpt is not a checkpoint of train.py; it has no .*{words}"):
            check_checkpoint(path)
    save(path)
    assert check_checkpoint(path) == 7
    with pytest.raises(InputError, match="has weights only"):
        check_checkpoint(path, to_resume=True)


def test_last_is_the_newest_sound_one(tmp_path):
    last, best = (tmp_path / "checkpoints" / f"{name}.ckpt" for name in ("last", "best"))
    with pytest.raises(InputError, match="there is no file"):
        resolve_resume_checkpoint(tmp_path, "best")
    assert resolve_resume_checkpoint(tmp_path, "last") is None, "a run without a checkpoint starts from the beginning"
    save(best, **FULL)
    assert resolve_resume_checkpoint(tmp_path, "last") == best
    save(last, **FULL)
    assert resolve_resume_checkpoint(tmp_path, "last") == last
    os.truncate(last, 100)
    assert resolve_resume_checkpoint(tmp_path, "last") == best
    repair_last_checkpoint(tmp_path, best)
    assert last.read_bytes() == best.read_bytes()
    last.unlink()  # it may be best.ckpt by another name
    save(last)  # weights alone
    assert resolve_resume_checkpoint(tmp_path, "last") == best
    best.write_bytes(b"")
    with pytest.raises(InputError, match=r"last.ckpt has weights only.*best.ckpt .*empty.*; .*start a new run"):
        resolve_resume_checkpoint(tmp_path, "last")


def test_numbers_that_are_none_are_named_with_their_line(tmp_path):
    square = [",".join(["0"] * 4) + ",7"] * 2
    (tmp_path / "train.csv").write_text("\n".join([*square, "0,nan,0,0,7"]) + "\n")
    with pytest.raises(InputError, match=r"train.csv:3: pixel 2 is 'nan'; it must be 0 to 255"):
        read_labelled_images(tmp_path / "train.csv")
    (tmp_path / "train.jsonl").write_text('{"text": "a", "label": 1}\n{"text": "b", "label": NaN}\n')
    rows = list(read_rows(tmp_path / "train.jsonl", ["label"]))
    with pytest.raises(InputError, match="train.jsonl:2: the label is nan"):
        for line, (label,) in rows:
            label_value(label, f"train.jsonl:{line}")


@pytest.mark.parametrize("wanted", ["gpu", "cuda"])
@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_said_before_data_are_read(wanted, train, capsys):
    assert train("fit", "configs/quickstart.yaml", "--data.source", "nowhere", "--trainer.accelerator", wanted) == 2
    answer = capsys.readouterr().err
    assert f"trainer.accelerator is {wanted}" in answer and "use cpu" in answer and answer.count("\n") == 1
