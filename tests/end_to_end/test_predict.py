"""predict as a person uses it: from a run folder alone, in every form, in pieces, stopped, and asked wrongly."""

import csv
import io
import json
import os
import shutil
import signal
from functools import partial

import pytest

from app.callbacks.progress import PredictProgress
from app.cli.main import main
from app.cli.output import output_stream
from app.datamodules import TextClassificationData
from app.tasks import Classification
from tests.conftest import ROOT, only_run
from tests.errors.test_input_error import one_answer
from tests.exactness.cases import CASES

LINES = [
    "a warm funny film", "", 'a dull "tired" flat stupid mess without any charm or sense at all', "clever", "a film",
]  # fmt: skip


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, tiny_texts):
    """The folder of a finished run, which was moved, and whose data is gone."""
    root, case = tmp_path_factory.mktemp("fitted"), CASES["classification"]
    shutil.copytree(tiny_texts, root / "texts")
    settings = [*case.arguments(root / "texts"), f"--run_root={root}", f"--data.cache_dir={root / 'cache'}"]
    assert main(["fit", "--config", str(ROOT / case.config), *settings, "--trainer.max_epochs=1"]) == 0
    run = only_run(root).rename(root / "moved")
    shutil.rmtree(root / "texts")
    shutil.rmtree(root / "cache")
    return run


@pytest.fixture
def predict(fitted, train, tmp_path):
    """Call predict; by default for LINES in a file."""
    (tmp_path / "in.txt").write_text("\n".join(LINES) + "\n")

    def call(*arguments, source=tmp_path / "in.txt", run=fitted):
        given = [] if source is None else ["--data.predict_source", source]
        return train("predict", run / "config.yaml", *given, *arguments)

    return call


def records(text):
    return [json.loads(line) for line in text.splitlines()]


def files(folder):
    return {path.name for path in folder.iterdir()}


def test_it_writes_one_record_a_line_in_order(predict, tmp_path, capsys):
    assert predict("--output", tmp_path / "out.jsonl") == 0
    found = records((tmp_path / "out.jsonl").read_text())
    assert len(found) == len(LINES)
    for record in found:
        assert list(record) == ["label", "probabilities"] and record["probabilities"].keys() == {"neg", "pos"}
        assert record["label"] == max(record["probabilities"], key=record["probabilities"].get)
        assert sum(record["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    captured = capsys.readouterr()
    assert captured.out == "" and "5 records in " in captured.err and "out.jsonl" in captured.err
    # one at a time gives what all together gave: order and padding do not matter
    (tmp_path / "one.txt").write_text(LINES[2] + "\n")
    assert predict(source=tmp_path / "one.txt") == 0
    alone = json.loads(capsys.readouterr().out)
    assert alone["label"] == found[2]["label"]
    assert alone["probabilities"]["pos"] == pytest.approx(found[2]["probabilities"]["pos"], abs=1e-5)


def test_a_form_can_be_asked_for(predict, capsys):
    written = {}
    for form in ("jsonl", "tsv", "plain"):
        assert predict("--output_format", form) == 0
        written[form] = capsys.readouterr().out
    found = records(written["jsonl"])
    assert [record["text"] for record in found] == LINES
    rows = list(csv.DictReader(io.StringIO(written["tsv"]), delimiter="\t"))
    assert [(row["text"], row["label"]) for row in rows] == [(record["text"], record["label"]) for record in found]
    assert float(rows[0]["probabilities.neg"]) == found[0]["probabilities"]["neg"]
    assert written["plain"].splitlines() == [record["label"] for record in found]


def test_pieces_change_nothing_and_flow(predict, tmp_path, capsys, monkeypatch):
    assert predict("--output", tmp_path / "whole.jsonl") == 0
    capsys.readouterr()
    monkeypatch.setattr(TextClassificationData, "predict_chunk_size", 2)
    monkeypatch.setattr("app.cli.predict.PredictProgress", partial(PredictProgress, every_s=0))
    assert predict() == 0
    captured = capsys.readouterr()
    whole = records((tmp_path / "whole.jsonl").read_text())
    assert [record["label"] for record in records(captured.out)] == [record["label"] for record in whole]
    assert "2 of 5 records" in captured.err and "0:00 left" in captured.err and "5 records in " in captured.err


def test_it_reads_standard_input(predict, capsys, monkeypatch):
    class Stdin:
        buffer = io.BytesIO(b"a warm film\na dull film\n")

    monkeypatch.setattr("sys.stdin", Stdin())
    assert predict(source="-") == 0
    captured = capsys.readouterr()
    assert len(records(captured.out)) == 2 and "2 records in " in captured.err.splitlines()[-1]


def test_it_writes_all_records_whatever_the_devices(predict, tmp_path):
    several = ["--trainer.devices", 2, "--trainer.strategy", "ddp", "--output", tmp_path / "out.jsonl"]
    assert predict(*several) == 0
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == len(LINES)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_half_written(number, predict, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(TextClassificationData, "predict_chunk_size", 2)
    step = Classification.predict_step

    def stopped(model, batch, batch_idx):
        if "clever" in batch.texts:  # in the second piece
            signal.raise_signal(number)
        return step(model, batch, batch_idx)

    monkeypatch.setattr(Classification, "predict_step", stopped)
    before, handler = files(tmp_path), signal.getsignal(number)
    assert predict("--output", tmp_path / "out.jsonl") == 128 + number
    error = capsys.readouterr().err
    assert f"stopped by {signal.Signals(number).name}" in error.splitlines()[-1] and "Traceback" not in error
    assert files(tmp_path) == before and signal.getsignal(number) == handler


def test_a_reader_that_has_had_enough_is_no_fault(predict, capsys, monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8") as closed:
        monkeypatch.setattr("sys.stdout", closed)
        assert predict() == 128 + signal.SIGPIPE
    error = capsys.readouterr().err
    assert "reader of standard output is gone" in error.splitlines()[-1] and "Traceback" not in error


def test_a_pipe_or_a_device_is_written_to_and_stays_what_it_is(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDWR | os.O_NONBLOCK)
    with output_stream(str(tmp_path / "pipe")) as write:
        write(["a line\n"])
    assert os.read(reading, 100) == b"a line\n" and (tmp_path / "pipe").is_fifo() and files(tmp_path) == {"pipe"}
    os.close(reading)


def test_an_older_run_reads_its_data(fitted, predict, tiny_texts, tmp_path, capsys):
    shutil.copytree(fitted, tmp_path / "older")
    (tmp_path / "older/data_spec.json").unlink()
    assert predict(run=tmp_path / "older") == 2
    assert "no such file" in capsys.readouterr().err
    assert predict("--data.source", tiny_texts, run=tmp_path / "older") == 0
    older = capsys.readouterr().out
    assert predict() == 0
    assert capsys.readouterr().out == older


def test_facts_of_another_run_are_refused_by_the_checkpoint(fitted, predict, tmp_path, capsys):
    shutil.copytree(fitted, tmp_path / "other")
    data_spec = json.loads((fitted / "data_spec.json").read_text())
    (tmp_path / "other/data_spec.json").write_text(json.dumps({**data_spec, "labels": ["bad", "good"]}))
    assert predict(run=tmp_path / "other") == 2
    assert "classes neg, pos, this run has bad, good" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("content", ["{", "[]", '{"labels": ["a", "b"], "tokenizer": {}}'])
def test_broken_facts_are_answered(content, fitted, predict, tmp_path, capsys):
    shutil.copytree(fitted, tmp_path / "broken")
    (tmp_path / "broken/data_spec.json").write_text(content)
    assert predict(run=tmp_path / "broken") == 2
    assert "data_spec.json: is not what the run wrote" in one_answer(capsys)


WRONG = {
    "no source": ([], None, ["--data.predict_source"]),
    "a source that is not there": ([], "nowhere.txt", ["nowhere.txt", "cannot be read"]),
    "a source that is a folder": ([], ".", ["is a folder", "path of a file"]),
    "an empty source": ([], os.devnull, ["nothing to predict for"]),
    "another form": (["--output_format", "xml"], "in.txt", ["output_format is 'xml'", "jsonl", "tsv", "plain"]),
    "a folder that is not there": (["--output", "no/out.jsonl"], "in.txt", ["no folder"]),
    "no such checkpoint": (["--ckpt_path", "no.ckpt"], "in.txt", ["no.ckpt", "no file"]),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_answered_and_nothing_is_written(wrong, predict, tmp_path, capsys):
    arguments, source, words = WRONG[wrong]
    before = files(tmp_path)
    assert predict("--output", tmp_path / "out.jsonl", *arguments, source=source) == 2
    captured = capsys.readouterr()
    answer = captured.err.splitlines()[-1]
    assert answer.startswith("error: ") and all(word in answer for word in words) and captured.out == ""
    assert files(tmp_path) == before


def test_a_run_without_a_best_checkpoint_is_answered(fitted, predict, tmp_path, capsys):
    shutil.copytree(fitted, tmp_path / "run")
    (tmp_path / "run/checkpoints/best.ckpt").unlink()
    assert predict(run=tmp_path / "run") == 2
    assert "best.ckpt; pass last" in capsys.readouterr().err.splitlines()[-1]
