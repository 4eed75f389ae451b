"""What a machine does to a run is said in a line, leaves the last checkpoint sound, and the run resumes bit for bit."""

import os
import resource
import subprocess

import pytest

from app.runs.checkpoint_file import check_checkpoint
from tests.conftest import ROOT, only_run
from tests.exactness.cases import CASES
from tests.exactness.compare import differences
from tests.exactness.killer import Killed

CASE = CASES["classification"]
KEPT = "--checkpoint_every_steps=1"


def at(fault, hook, time, **arguments):
    """Flags for a callback that strikes when the hook is called for the nth time."""
    given = {"hook": hook, "time": time, **arguments}
    return [
        f"--trainer.callbacks+=tests.exactness.{fault}",
        *(f"--trainer.callbacks.{k}={v}" for k, v in given.items()),
    ]


@pytest.fixture(scope="module")
def settings(tiny_texts):
    return [*CASE.arguments(tiny_texts), KEPT]


@pytest.fixture(scope="module")
def reference(tmp_path_factory, settings):
    """The run that nothing happened to."""
    from app.cli.main import main

    root = tmp_path_factory.mktemp("reference")
    places = [f"--run_root={root}", f"--data.cache_dir={root / 'cache'}"]
    assert main(["fit", "--config", str(ROOT / CASE.config), *settings, *places]) == 0
    return only_run(root)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def unlimited():
    """Takes away the limit on files that a run was given."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    lift = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, former)  # noqa: E731
    yield lift
    lift()


def one_answer(capsys):
    error = capsys.readouterr().err
    answer = error[error.index("error: ") :]
    assert len(answer.splitlines()) <= 2 and "Traceback" not in error, error
    return answer


def sound(root):
    """The one run folder in which no file was left half-written and the last checkpoint is sound."""
    (config,) = root.rglob("config.yaml")
    assert not [path for path in config.parent.rglob("*") if path.suffix in (".part", ".tmp")]
    check_checkpoint(config.parent / "checkpoints/last.ckpt", to_resume=True)
    return config.parent


def zero_middle(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4096] = bytes(4096)
    path.write_bytes(data)


@pytest.mark.slow
def test_last_falls_back_to_best_and_comes_out_the_same(train, capsys, tmp_path, settings, reference):
    killer = at("killer.KillAt", "on_train_batch_end", 10)
    with pytest.raises(Killed):
        train("fit", CASE.config, *settings, *killer)
    (last,) = (tmp_path / "runs").rglob("last.ckpt")
    best = last.with_name("best.ckpt")
    step = check_checkpoint(best, to_resume=True)
    assert step < check_checkpoint(last, to_resume=True)
    zero_middle(last)
    capsys.readouterr()
    assert train("fit", CASE.config, *settings, "--ckpt_path", "last") == 0
    said = next(line for line in capsys.readouterr().out.splitlines() if "resuming from" in line)
    assert "checkpoints/last.ckpt is damaged" in said and f"resuming from best.ckpt next to it, of step {step}" in said
    assert differences(reference, only_run(tmp_path / "runs")) == []


def test_without_a_sound_checkpoint_nothing_is_begun_or_overwritten(train, capsys, tmp_path, settings):
    assert train("fit", CASE.config, *settings, "--trainer.max_epochs=1", "--test_after_fit=false") == 0
    for path in (tmp_path / "runs").rglob("*.ckpt"):
        os.truncate(path, path.stat().st_size - 1000)
    before = {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*.*") if path.is_file()}
    assert train("fit", CASE.config, *settings, "--ckpt_path", "last") == 2
    answer = one_answer(capsys)
    for words in ("last.ckpt is not a valid checkpoint", "best.ckpt is not a valid", "start a new run without it"):
        assert words in answer
    assert train("test", CASE.config, *settings) == 2
    assert "best.ckpt is not a valid checkpoint" in one_answer(capsys)
    assert before == {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*.*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hook", "time", "file"),
    [("on_validation_start", 2, "checkpoints/last.ckpt.tmp"), ("on_fit_start", 1, ""), ("on_train_end", 1, "")],
)
def test_a_full_disk(hook, time, file, train, capsys, settings, reference, small_disk):
    place = f"--run_root={small_disk}"
    filler = at("faults.FillDisk", hook, time, folder=small_disk, leave=8192)
    assert train("fit", CASE.config, *settings, place, *filler, "--plots=true") == 2
    answer = one_answer(capsys)
    assert f"error: {small_disk}" in answer and f"{file}: cannot be written (No space left on device)" in answer
    if hook != "on_fit_start":
        assert "--ckpt_path last then resumes from" in answer
        sound(small_disk)
    (small_disk / "filler").unlink()
    assert train("fit", CASE.config, *settings, place, "--ckpt_path=last") == 0
    assert differences(reference, only_run(small_disk)) == []


@pytest.mark.slow
def test_a_checkpoint_that_does_not_fit(train, capsys, tmp_path, settings, unlimited):
    limit = at("faults.LimitFiles", "on_validation_start", 2, largest=20_000)
    assert train("fit", CASE.config, *settings, *limit) == 2
    unlimited()
    answer = one_answer(capsys)
    assert "last.ckpt.tmp: cannot be written (File too large)" in answer and "ulimit -f" in answer
    sound(tmp_path / "runs")


@pytest.mark.slow
def test_a_folder_that_is_read_only(train, capsys, tmp_path, settings, small_disk):
    short = [*settings, "--trainer.max_epochs=1", f"--run_root={small_disk}", f"--data.cache_dir={tmp_path / 'cache'}"]
    assert train("fit", CASE.config, *short) == 0
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    capsys.readouterr()
    assert train("fit", CASE.config, *short, "--ckpt_path=last") == 2
    assert "Read-only file system" in (answer := one_answer(capsys)) and "--run_root" in answer
    assert train("test", CASE.config, *short) == 0, "which writes nothing"
    source = tmp_path / "lines.txt"
    source.write_text("a warm film\n")
    predict = [*short, f"--data.predict_source={source}", f"--output={small_disk / 'out.jsonl'}"]
    assert train("predict", CASE.config, *predict) == 2
    assert "out.jsonl: cannot be written (Read-only" in one_answer(capsys)
    assert train("fit", CASE.config, *short, f"--data.cache_dir={small_disk / 'cache'}") == 2
    assert f"{small_disk}/cache" in (answer := one_answer(capsys)) and "Read-only" in answer


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        (
            "on_train_batch_start",
            ["at step 1, in training", "lower data.batch_tokens (200), which makes it another run"],
        ),
        ("on_validation_batch_start", ["in validation", "lower data.eval_batch_factor"]),
    ],
)
def test_out_of_memory_names_the_batch_and_the_setting(hook, words, train, capsys, tmp_path, settings):
    assert train("fit", CASE.config, *settings, *at("faults.TakeMemory", hook, 2)) == 2
    answer = one_answer(capsys)
    for word in ("out of memory", "examples (input_ids ", "--ckpt_path last then resumes from", *words):
        assert word in answer
    sound(tmp_path / "runs")


@pytest.mark.slow
def test_a_killed_loader_process(train, capsys, tmp_path, settings):
    kill = at("faults.KillWorkers", "on_train_batch_end", 7)
    assert train("fit", CASE.config, *settings, *kill, "--data.workers=1") == 2
    answer = one_answer(capsys)
    assert "a loader process" in answer and "data.workers" in answer and "--ckpt_path last then resumes" in answer
    sound(tmp_path / "runs")
