"""Translation by train.py from one end to the other: run folder, scores, predict, averaged weights, wrong input."""

import gzip
import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT, only_run, read_result
from tests.errors.test_input_error import one_answer
from tests.exactness.cases import CASES
from tests.example_scores import scores_of_examples
from tests.processes import started
from tests.stand_ins import sentence_pairs, write_aligned

CONFIG = CASES["translation"].config


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, tiny_pairs):
    """The folder of a finished run that was tested by its mean weights."""
    from app.cli.main import main

    root = tmp_path_factory.mktemp("fitted")
    settings = [*CASES["translation"].arguments(tiny_pairs), f"--run_root={root}", f"--data.cache_dir={root / 'cache'}"]
    settings += ["--average_checkpoints=2", "--trainer.max_epochs=12", "--model.optimizer.lr=1e-2"]
    assert main(["fit", "--config", str(ROOT / CONFIG), *settings]) == 0
    return only_run(root)


@pytest.mark.slow
def test_the_test_leaves_its_translations_and_says_how_they_were_scored(fitted):
    result = read_result(fitted)
    assert result["tested"] == "mean of the weights of the last 2 validations"
    assert result["test"].keys() == {"loss", "perplexity", "bleu", "chrf", "bleu_tokenized", "bleu_of_copy"}
    assert result["score_signatures"]["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:13a")
    sources, hypotheses, references = (
        (fitted / f"test_{name}.txt").read_text().splitlines() for name in ("source", "hypothesis", "reference")
    )
    assert len(sources) == len(hypotheses) == len(references) > 5
    assert all(pair in sentence_pairs(120) for pair in zip(sources, references, strict=True))
    assert len(list((fitted / "checkpoints").glob("weights-*.ckpt"))) == 2
    expected = {name: pytest.approx(result["test"][name], rel=1e-14) for name in ("loss", "bleu")}
    assert scores_of_examples(fitted) == expected


@pytest.mark.slow
def test_the_sacrebleu_command_scores_the_hypotheses_alike(fitted):
    command = [sys.executable, "-m", "sacrebleu", str(fitted / "test_reference.txt")]
    command += ["-i", str(fitted / "test_hypothesis.txt"), "-m", "bleu", "chrf", "-b", "-w", "6"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    scores = json.loads(done.stdout)
    test = read_result(fitted)["test"]
    assert [float(score) for score in scores] == pytest.approx([test["bleu"], test["chrf"]], abs=1e-5)
    assert test["chrf"] > 0


@pytest.mark.slow
def test_losses_are_logged_with_and_without_smoothing(fitted):
    events = [json.loads(line) for line in (fitted / "metrics.jsonl").read_text().splitlines()]
    trained = [event for event in events if "train/loss" in event]
    assert len(trained) > 5 and all("train/smoothed_loss" in event for event in trained)
    assert trained[-1]["train/smoothed_loss"] > trained[-1]["train/loss"]  # what is spread out costs
    validated = [event for event in events if "val/loss" in event]
    scores = {"val/bleu", "val/chrf", "val/perplexity", "gap/bleu", "gap/loss"}
    assert all(scores <= event.keys() for event in validated)
    assert validated[-1]["val/loss"] < validated[0]["val/loss"]


@pytest.mark.slow
def test_test_and_predict_give_what_fit_gave(fitted, train, tmp_path, capsys):
    assert train("test", fitted / "config.yaml") == 0
    printed = capsys.readouterr().out
    assert "mean of the weights" in printed and "bleu: nrefs:1" in printed
    expected = {f"test/{metric}": value for metric, value in read_result(fitted)["test"].items()}
    assert json.loads(printed[printed.index("{\n") :]) == pytest.approx(expected)
    for name, language in (("source", "en"), ("reference", "de")):  # a test on other files, here the same pairs
        (tmp_path / f"other.{language}").write_text((fitted / f"test_{name}.txt").read_text())
    assert train("test", fitted / "config.yaml", f"--data.test_source={tmp_path / 'other'}") == 0
    printed = capsys.readouterr().out
    assert json.loads(printed[printed.index("{\n") :]) == pytest.approx(expected)
    arguments = ["--data.predict_source", fitted / "test_source.txt", "--output", tmp_path / "out.txt"]
    assert train("predict", fitted / "config.yaml", *arguments) == 0
    assert (tmp_path / "out.txt").read_text() == (fitted / "test_hypothesis.txt").read_text()


@pytest.mark.slow
def test_the_best_checkpoint_can_be_asked_for_all_the_same(fitted, train, capsys):
    assert train("test", fitted / "config.yaml", "--ckpt_path", fitted / "checkpoints/best.ckpt") == 0
    assert "best.ckpt" in capsys.readouterr().out


@pytest.mark.slow
def test_predict_answers_standard_input_line_by_line(fitted):
    command = [sys.executable, str(ROOT / "train.py"), "predict", "--config", str(fitted / "config.yaml")]
    first = sentence_pairs(1)[0][0].encode()
    with started(
        [*command, "--data.predict_source", "-"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=fitted,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:  # fmt: skip
        process.stdin.write(first + b"\n")
        process.stdin.flush()
        answer = process.stdout.readline()  # comes although standard input is still open
        process.stdin.write(b"\n" + first)
        rest, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert answer.strip() and rest.split(b"\n")[:2] == [b"", answer.strip()] and rest.count(b"\n") == 2


PAIRS = sentence_pairs(60)
WRONG = {
    "unequal line counts": (
        lambda folder: (folder / "train.de").write_text("eins\nzwei\n"),
        [], ["train.en", "60", "train.de", "2"],
    ),
    "invalid UTF-8": (
        lambda folder: (folder / "train.de").write_bytes(b"gut\n" * 30 + b"M\xfcnchen\n" + b"gut\n" * 29),
        [], ["train.de:31", "0xfc"],
    ),
    "a missing side": (lambda folder: (folder / "train.de").unlink(), [], ["train.en", "train.de"]),
    "a cut archive": (
        lambda folder: (
            (folder / "train.de").unlink(),
            (folder / "train.de.gz").write_bytes(gzip.compress(b"gut\n" * 60)[:-9]),
        ),
        [], ["train.de.gz", "cut short"],
    ),
    "no pairs at all": (
        lambda folder: [(folder / f"train.{language}").write_text("") for language in ("en", "de")],
        [], ["train.en", "no"],
    ),
    "a model too short for the longest sentence": (
        None, ["--model.backbone.options.max_position_embeddings=20"], ["max_length is 80", "20", "raise"],
    ),
    "a budget below the longest sentence": (None, ["--data.batch_tokens=3"], ["batch_tokens is", "longest", "raise"]),
    "a tokenizer that loses text": (None, ["--data.tokenizer.kind=word"], ["word", "bpe"]),
    "a vocabulary below the bytes": (None, ["--data.tokenizer.vocab_size=100"], ["vocab_size is 100", "261"]),
    "a language that is not there": (None, ["--data.target_language=fr"], ["fr"]),
    "one language twice": (None, ["--data.target_language=en"], ["en"]),
    "a model without a decoder": (
        None,
        ["--model.backbone.options", "{hidden_size: 32, num_attention_heads: 4}", "--model.backbone.model_type=bert"],
        ["bert", "AutoModelForSeq2SeqLM"],
    ),
    "no beam": (None, ["--model.decoding.beams=0"], ["beams is 0"]),
    "an unknown key of decoding": (None, ["--model.decoding.beam=4"], ["decoding.beam", "did you mean"]),
    "a share above one": (None, ["--model.val_decoding.fraction=2"], ["fraction is 2"]),
    "no checkpoints to average": (None, ["--average_checkpoints=0"], ["average_checkpoints is 0"]),
    "a warm-up from above": (None, ["--model.optimizer.warmup_from=1"], ["warmup_from is 1"]),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_what_is_wrong_is_answered(wrong, train, tmp_path, capsys):
    spoil, arguments, words = WRONG[wrong]
    folder = tmp_path / "corpus"
    write_aligned(folder / "train", ("en", "de"), PAIRS)
    if spoil:
        spoil(folder)
    assert train("fit", CONFIG, f"--data.source={folder}", "--data.tokenizer.vocab_size=400", *arguments) == 2
    answer = one_answer(capsys)
    for word in words:
        assert word in answer
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_weights_of_another_vocabulary_are_refused(fitted, train, tmp_path, capsys):
    write_aligned(tmp_path / "other/train", ("en", "de"), [(a.upper(), b.upper()) for a, b in PAIRS])
    other = ["--data.source", tmp_path / "other"]
    for which in ([], ["--ckpt_path", fitted / "checkpoints/best.ckpt"]):
        assert train("test", fitted / "config.yaml", *other, *which) == 2
        assert "vocabulary" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_a_run_with_fewer_validations_is_averaged_over_all(fitted, train, capsys):
    assert train("test", fitted / "config.yaml", "--average_checkpoints", 5) == 0
    assert "mean of the weights of the last 2 validations" in capsys.readouterr().out
