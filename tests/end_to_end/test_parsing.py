"""Parsing by train.py from one end to the other: scores beside an independent scorer, predict, wrong treebanks."""

import dataclasses
import json

import pytest
from udtools.state import State
from udtools.udeval import evaluate, load_conllu
from udtools.validator import Validator

from app.metrics.info import LAS
from tests.conftest import ROOT, mostly_slow, only_run, read_result
from tests.errors.test_input_error import one_answer
from tests.exactness.cases import CASES
from tests.example_scores import scores_of_examples
from tests.stand_ins import write_treebank

CONFIG = CASES["parsing_biaffine"].config


@pytest.fixture(scope="module", params=mostly_slow(["parsing_mlp", "parsing_biaffine"], "parsing_mlp"))
def fitted(request, tmp_path_factory):
    """The folder of a finished run, and of its treebank."""
    from app.cli.main import main

    root, case = tmp_path_factory.mktemp("fitted"), CASES[request.param]
    for seed, (part, count) in enumerate({"train": 80, "dev": 20, "test": 25}.items()):
        write_treebank(root / f"{part}.conllu", count, seed)
        text = (root / f"{part}.conllu").read_text(encoding="utf-8").replace("\tnsubj\t", "\tnsubj:outer\t")
        if part == "test":  # one that training has without its subtype, and one that it does not have at all
            text = text.replace("\tnsubj:outer\t", "\tnsubj\t", 9).replace("\tobj\t", "\tobj:unseen\t", 9)
        (root / f"{part}.conllu").write_text(text, encoding="utf-8")
    settings = [*case.arguments(root), "--trainer.max_epochs=8"]
    places = [f"--run_root={root / 'runs'}", f"--data.cache_dir={root / 'cache'}"]
    assert main(["fit", "--config", str(ROOT / case.config), *settings, *places]) == 0
    return only_run(root), root


def labelled(gold, system):
    """The share of words with the right head and the right relation, subtype included."""
    rows = [
        [line.split("\t")[6:8] for line in path.read_text(encoding="utf-8").splitlines() if line[:2].strip().isdigit()]
        for path in (gold, system)
    ]
    return sum(one == other for one, other in zip(*rows, strict=True)) / len(rows[0])


def validated(path, level):
    """Number of incidents that the official validator finds."""
    with path.open(encoding="utf-8") as file:
        state = Validator(lang="ud", level=level, output=None).validate_file_handle(file, State())
    return state.error_counter


def official(gold, system):
    read = []
    for path in (gold, system):
        with path.open(encoding="utf-8") as file:
            read.append(load_conllu(file, str(path), {}))
    return evaluate(*read)


def test_scores_are_those_of_the_shared_tasks_script(fitted, train, tmp_path):
    run, treebank = fitted
    assert (
        train("predict", run / "config.yaml", "--data.predict_source", treebank / "test.conllu", "--output", "x") == 0
    )
    scores, test = official(treebank / "test.conllu", tmp_path / "x"), read_result(run)["test"]
    assert test["uas"] == pytest.approx(scores["UAS"].f1, abs=1e-9) and test["uas"] > 0.4
    assert test["las"] == pytest.approx(scores["LAS"].f1, abs=1e-9) and test["las"] > 0.2
    assert test["las_strict"] == pytest.approx(labelled(treebank / "test.conllu", tmp_path / "x"), abs=1e-9)
    assert test["las_strict"] < test["las"]
    assert set(test) >= {"uas_without_punct", "las_without_punct", "las_strict_without_punct", "match", "uas_of_next"}
    assert read_result(run)["primary_metric"] == {"mode": "max", **dataclasses.asdict(LAS)}
    assert scores_of_examples(run) == {name: pytest.approx(test[name], rel=1e-14) for name in ("loss", "uas", "las")}


def test_predict_writes_conllu_with_nothing_changed_but_the_tree(fitted, train, tmp_path):
    run, treebank = fitted
    source, output = treebank / "test.conllu", tmp_path / "out.conllu"
    assert train("predict", run / "config.yaml", "--data.predict_source", source, "--output", output) == 0

    def without_trees(path):
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n")]
        return [row if len(row) < 10 or not row[0].isdigit() else row[:6] + row[8:] for row in rows]

    assert without_trees(output) == without_trees(source)
    assert validated(output, level=1) == {}


def test_predict_reads_plain_text(fitted, train, tmp_path):
    run, _ = fitted
    (tmp_path / "in.txt").write_text("the red dog sees a house.\n\nthis child likes it!\n", encoding="utf-8")
    arguments = ["--data.predict_source", tmp_path / "in.txt", "--output", tmp_path / "out.conllu"]
    assert train("predict", run / "config.yaml", *arguments) == 0
    written = (tmp_path / "out.conllu").read_text(encoding="utf-8")
    blocks = written.strip().split("\n\n")
    assert ["# text = the red dog sees a house." in blocks[0], "# text = this child likes it!" in blocks[1]] == [
        True
    ] * 2
    assert [len(block.splitlines()) for block in blocks] == [2 + 7, 2 + 5]
    assert all([line.split("\t")[6] for line in block.splitlines()[2:]].count("0") == 1 for block in blocks)
    assert validated(tmp_path / "out.conllu", level=1) == {}


def test_predict_takes_any_precision(fitted, train, tmp_path):
    run, treebank = fitted
    arguments = ["--data.predict_source", treebank / "test.conllu", "--output", tmp_path / "out.conllu"]
    assert train("predict", run / "config.yaml", *arguments, "--trainer.precision=64-true") == 0
    assert validated(tmp_path / "out.conllu", level=1) == {}


def test_test_prints_the_same_scores(fitted, train, capsys):
    run, _ = fitted
    assert train("test", run / "config.yaml") == 0
    printed = capsys.readouterr().out
    scores = json.loads(printed[printed.index("{\n") :])
    assert {f"test/{name}": value for name, value in read_result(run)["test"].items()} == pytest.approx(scores)


def test_a_checkpoint_of_other_words_is_refused(fitted, train, tmp_path, capsys):
    run, treebank = fitted
    for part in ("train", "dev", "test"):
        text = (treebank / f"{part}.conllu").read_text(encoding="utf-8")
        (tmp_path / f"{part}.conllu").write_text(text.replace("dog", "wolf"), encoding="utf-8")
    assert train("test", run / "config.yaml", f"--data.source={tmp_path}") == 2
    answer = one_answer(capsys)
    assert "the checkpoint is of vocabulary" in answer and "this run has" in answer


GOOD = "# sent_id = a7\n1\tIt\t_\t_\tPRP\t_\t2\t_\t_\t_\n2\tworks\t_\t_\tVBZ\t_\t0\t_\t_\t_\n\n"
BROKEN = {
    "a cycle": (
        GOOD.replace("\t2\t_", "\t3\t_").replace("\n\n", "\n3\tnow\t_\t_\tRB\t_\t1\t_\t_\t_\n\n"),
        ["trees.conllu:", "a7", "cycle"],
    ),
    "two roots": (GOOD.replace("\t2\t_", "\t0\t_"), ["trees.conllu:", "a7", "root"]),
    "a head outside the sentence": (GOOD.replace("\t2\t_", "\t9\t_"), ["trees.conllu:6", "a7", "9"]),
    "a missing column": (GOOD.replace("\tPRP", ""), ["trees.conllu:6", "a7", "columns"]),
    "mixed indentation": (GOOD.replace("2\tworks\t", "2  works\t"), ["trees.conllu:7", "a7"]),
    "a line that begins with a space": (GOOD.replace("1\tIt", " 1\tIt"), ["trees.conllu:6", "a7"]),
    "no tree": (GOOD.replace("\t0\t", "\t_\t").replace("\t2\t_", "\t_\t_"), ["trees.conllu:", "a7", "head"]),
}  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_treebank_is_answered_with_file_line_and_sentence(broken, train, tmp_path, capsys):
    text, words = BROKEN[broken]
    (tmp_path / "trees.conllu").write_text(GOOD.replace("a7", "a1") + text)
    assert train("fit", CASES["parsing_mlp"].config, f"--data.source={tmp_path / 'trees.conllu'}") == 2
    answer = one_answer(capsys)
    for word in words:
        assert word in answer
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("config", "model", "settings"),
    [
        ("ud_lines", "mlp_parser", []),
        pytest.param(
            "ptb", "biaffine_parser", ["--data.tokenizer={kind: bpe, vocab_size: 3000}", "--data.characters=true"],
            marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_a_config_takes_the_other_parser(config, model, settings, train, tiny_trees):
    settings = [f"--data.source={tiny_trees}", "--trainer.fast_dev_run=true", *settings]
    assert train("fit", f"configs/parsing/{config}.yaml", f"--model={ROOT}/configs/models/{model}.yaml", *settings) == 0


WRONG = {
    "the parser of another backbone": (
        ["--model.parser=mlp"], ["model.parser is mlp", "biaffine", "--model configs/models/mlp_parser.yaml"],
    ),
    "features that the data lacks": (["--data.tags=null"], ["model.features.tags", "set data.tags"]),
    "no tokenizer": (["--data.tokenizer=null"], ["subwords", "data.tokenizer"]),
    "a score of no relation": (["--data.score_without=[obl]"], ["obl", "punct", "nsubj"]),
    "a model too short": (
        ["--model.backbone.options.max_position_embeddings=64"], ["max_length is 256", "max_position_embeddings is 64"],
    ),
    "a source that is not there": (["--data.source=nowhere"], ["nowhere"]),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_answered(wrong, train, tmp_path, capsys, tiny_trees):
    arguments, words = WRONG[wrong]
    settings = [f"--data.source={tiny_trees}", "--data.split_modulo=null", *arguments]
    assert train("fit", CONFIG, *settings) == 2
    answer = one_answer(capsys)
    for word in words:
        assert word in answer
    assert not (tmp_path / "runs").exists()
